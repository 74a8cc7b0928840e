//! Network namespaces with real traffic in them.
