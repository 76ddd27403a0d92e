//! Expressions for topics. To hold one against the names of ten thousand topics can take seconds, so a coordinator does not do it: it says which expressions
//! a command needs ([`Coordinator::unresolved`]), and gets the command with the topics that fit.
//!
//! [`Coordinator::unresolved`]: crate::coordinator::Coordinator::unresolved

use regex::bytes::{Regex, RegexBuilder};

use crate::base::limits::{GROUP_REGEX_BYTES_MAX, GROUP_REGEX_PROGRAM_BYTES_MAX};
use crate::coordinator::error::GroupError;

/// A compiled expression.
#[derive(Debug)]
pub struct TopicRegex(Regex);

impl TopicRegex {
    /// Compiles an expression. Errors: it is too long, too large, or not an expression.
    pub fn new(regex: &str) -> Result<Self, GroupError> {
        let invalid = GroupError::InvalidRegularExpression;
        if regex.len() > GROUP_REGEX_BYTES_MAX {
            return Err(invalid);
        }
        // Names of topics are ASCII, and without the classes of Unicode programs are small.
        let build =
            |pattern: &str| RegexBuilder::new(pattern).unicode(false).size_limit(GROUP_REGEX_PROGRAM_BYTES_MAX).build();
        // On its own first: what is put around it must not make sense of what makes none.
        build(regex).and_then(|_| build(&format!(r"\A(?:{regex})\z"))).map(Self).map_err(|_| invalid)
    }

    /// The whole name of a topic fits. Takes up to 0.3 ms, if the expression and the name are made for it.
    pub fn fits(&self, name: &str) -> bool {
        self.0.is_match(name.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_name_has_to_fit() {
        let fits = |regex: &str, name: &str| TopicRegex::new(regex).expect("an expression").fits(name);
        assert!(fits("a|b", "a") && fits("a.*", "abc") && fits("(?i)A", "a") && fits("", ""));
        assert!(!fits("a|b", "ab") && !fits("b", "abc") && !fits("", "a"));
    }
}
