//! Arguments with `{input}` or `{input.field}` in them. No shell reads the arguments, so a value is never code; one
//! that stands alone and begins with `-` may still look like an option: put `--` before it.

use std::borrow::Cow;
use std::collections::HashMap;

use serde_json::value::RawValue;

/// The arguments of a program, with places for the input.
#[derive(Debug)]
pub(super) struct Template {
    arguments: Vec<Vec<Piece>>,
}

#[derive(PartialEq, Eq, Debug)]
enum Piece {
    Text(String),
    /// The input, or what lies at this path in it.
    Input(Vec<String>),
}

impl Template {
    pub(super) fn new(argv: &[String]) -> Self {
        Self { arguments: argv.iter().map(|argument| pieces(argument)).collect() }
    }

    /// Whether the arguments hold the input, so that stdin need not.
    pub(super) fn takes_input(&self) -> bool {
        self.arguments.iter().flatten().any(|piece| matches!(piece, Piece::Input(_)))
    }

    /// The arguments for this input; what is wrong with it, if anything is.
    pub(super) fn fill(&self, input: &RawValue) -> Result<Vec<String>, String> {
        let fill = |pieces: &Vec<Piece>| -> Result<String, String> {
            let texts: Result<Vec<_>, _> = pieces.iter().map(|piece| piece.text(input)).collect();
            let argument = texts?.concat();
            if argument.contains('\0') {
                Err("an argument cannot hold a NUL".to_owned())
            } else {
                Ok(argument)
            }
        };
        self.arguments.iter().map(fill).collect()
    }
}

impl Piece {
    fn text<'a>(&'a self, input: &'a RawValue) -> Result<Cow<'a, str>, String> {
        let path = match self {
            Self::Text(text) => return Ok(text.into()),
            Self::Input(path) => path,
        };
        let missing = || format!("the command needs {{input.{}}}, and the input has none", path.join("."));
        let found = path.iter().try_fold(input, |value, step| child(value, step));
        let text = found.ok_or_else(missing)?.get();
        // A string stands for its text, anything else for its JSON.
        Ok(serde_json::from_str::<String>(text).map_or(text.into(), Into::into))
    }
}

fn child<'a>(value: &'a RawValue, step: &str) -> Option<&'a RawValue> {
    if let Ok(index) = step.parse::<usize>() {
        return serde_json::from_str::<Vec<&RawValue>>(value.get()).ok()?.get(index).copied();
    }
    serde_json::from_str::<HashMap<String, &RawValue>>(value.get()).ok()?.get(step).copied()
}

fn pieces(argument: &str) -> Vec<Piece> {
    let (mut pieces, mut rest) = (Vec::new(), argument);
    while let Some((before, path, after)) = next_place(rest) {
        pieces.push(Piece::Text(before.to_owned()));
        pieces.push(Piece::Input(path));
        rest = after;
    }
    pieces.push(Piece::Text(rest.to_owned()));
    pieces
}

/// The first place for the input: what stands before it, its path, and what stands behind.
fn next_place(text: &str) -> Option<(&str, Vec<String>, &str)> {
    const OPEN: &str = "{input";
    let mut from = 0;
    while let Some(found) = text[from..].find(OPEN) {
        let start = from + found;
        let rest = &text[start + OPEN.len()..];
        match (rest.strip_prefix('}'), rest.strip_prefix('.').and_then(|path| path.split_once('}'))) {
            (Some(after), _) => return Some((&text[..start], Vec::new(), after)),
            (None, Some((path, after))) if !path.is_empty() => {
                return Some((&text[..start], path.split('.').map(str::to_owned).collect(), after));
            }
            (None, _) => from = start + OPEN.len(),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(argument: &str, input: &str) -> Result<String, String> {
        let input = RawValue::from_string(input.to_owned()).unwrap();
        Template::new(&[argument.to_owned()]).fill(&input).map(|mut arguments| arguments.remove(0))
    }

    #[test]
    fn values_stand_where_they_are_wanted() {
        let input =
            r#"{"w": 640, "name": "a b; rm -rf /", "list": [1, {"x": null}], "big": 9007199254740993}"#;
        for (argument, want) in [
            ("{input.w}x{input.w}", "640x640"),
            ("--name={input.name}", "--name=a b; rm -rf /"),
            ("{input.list.1.x}", "null"),
            ("{input.big}", "9007199254740993"),
            ("{ print }", "{ print }"),
            ("{input.}{inputs}{input", "{input.}{inputs}{input"),
        ] {
            assert_eq!(fill(argument, input).as_deref(), Ok(want));
        }
        assert_eq!(fill("<{input}>", "\"a\\n\\u00e9\"").as_deref(), Ok("<a\né>"));
        assert_eq!(fill("{input}", "[1, 2]").as_deref(), Ok("[1, 2]"));
    }

    #[test]
    fn what_cannot_be_filled_in_is_told() {
        assert!(fill("{input.height}", r#"{"w": 1}"#).unwrap_err().contains("{input.height}"));
        assert!(fill("{input.a.b}", r#"{"a": 1}"#).unwrap_err().contains("{input.a.b}"));
        assert!(fill("{input}", r#""a\u0000b""#).unwrap_err().contains("NUL"));
    }

    #[test]
    fn whether_arguments_take_the_input_is_known() {
        assert!(Template::new(&["a".into(), "-{input}".into()]).takes_input());
        assert!(!Template::new(&["awk".into(), "{ print $1 }".into()]).takes_input());
    }
}
