//! Rules, keys and lookup structures: which rule wins for a packet, in any number of dimensions.
