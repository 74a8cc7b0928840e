//! Request lines of the control socket.

use netchannel::control::check_line;

/// Takes the input as a line: it is a request that can be written and means the same then, or it is refused with a word.
pub fn control(input: &[u8]) {
    match check_line(input) {
        Ok(means_the_same) => assert!(means_the_same, "{}", String::from_utf8_lossy(input)),
        Err(told) => assert!(!told.is_empty()),
    }
}
