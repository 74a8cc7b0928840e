//! Netchannels on AF_XDP.
