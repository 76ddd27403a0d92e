//! Expressions for topics. To hold one against the names of ten thousand topics can take seconds, so a coordinator does not do it: it says which expressions
//! a command needs ([`Coordinator::unresolved`]), and gets the command with the topics that fit.
//!
//! [`Coordinator::unresolved`]: crate::coordinator::Coordinator::unresolved

use regex::bytes::{Regex, RegexBuilder};
use regex_syntax::ast::parse::Parser;
use regex_syntax::ast::{Ast, Flag, Visitor, visit};

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
        // Names of topics are ASCII, and without the classes of Unicode programs are small. One that turns them on can take a second to compile.
        if asks_for_unicode(regex).unwrap_or(true) {
            return Err(invalid);
        }
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

/// A flag in it turns the classes of Unicode on. `None`: it is no expression.
fn asks_for_unicode(regex: &str) -> Option<bool> {
    struct Flags(bool);
    impl Visitor for Flags {
        type Output = bool;
        type Err = std::convert::Infallible;

        fn finish(self) -> Result<bool, Self::Err> {
            Ok(self.0)
        }

        fn visit_pre(&mut self, ast: &Ast) -> Result<(), Self::Err> {
            let flags = match ast {
                Ast::Flags(set) => Some(&set.flags),
                Ast::Group(group) => group.flags(),
                _ => None,
            };
            self.0 |= flags.is_some_and(|flags| flags.flag_state(Flag::Unicode) == Some(true));
            Ok(())
        }
    }
    let ast = Parser::new().parse(regex).ok()?;
    let Ok(asks) = visit(&ast, Flags(false));
    Some(asks)
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

    /// Five hundred classes of all characters, each in every case that it has: that kept a core busy for a second before it was found too large.
    #[test]
    fn classes_of_unicode_are_refused_however_they_are_asked_for() {
        let classes = "[!-\u{22943}]".repeat(500);
        for regex in [format!("(?iu){classes}"), format!("a(?:b|(?u:{classes}))"), "(?u).".into(), r"\pL".into()] {
            assert_eq!(TopicRegex::new(&regex).map(drop), Err(GroupError::InvalidRegularExpression), "{regex}");
        }
        assert!(TopicRegex::new("(?i-u:a)").is_ok());
    }
}
