//! JSON Schemas of inputs and outputs, where a function declares them.

use std::sync::Arc;

use jsonschema::Validator;
use serde_json::Value;

/// A schema, ready to check values; cheap to clone.
#[derive(Clone, Debug)]
pub struct Schema {
    /// As it was declared.
    source: Arc<Value>,
    validator: Arc<Validator>,
}

/// Two schemas are the same if they were declared alike.
impl PartialEq for Schema {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

/// What a value does not have right: the first such thing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mismatch {
    /// Where in the value, as a JSON pointer (RFC 6901); empty for the value itself.
    pub path: String,
    /// What is wrong there.
    pub message: String,
}

impl Schema {
    /// Reads a schema; what is wrong with it, if anything is. It may not refer to other documents.
    pub fn new(source: Value) -> Result<Self, String> {
        let validator = jsonschema::validator_for(&source).map_err(|error| error.to_string())?;
        Ok(Self { source: Arc::new(source), validator: Arc::new(validator) })
    }

    /// As it was declared.
    pub fn source(&self) -> &Value {
        &self.source
    }

    /// Checks one JSON value, given as text.
    pub fn check(&self, text: &[u8]) -> Result<(), Mismatch> {
        let value: Value = serde_json::from_slice(text)
            .map_err(|error| Mismatch { path: String::new(), message: error.to_string() })?;
        self.validator
            .validate(&value)
            .map_err(|error| Mismatch { path: error.instance_path().to_string(), message: error.to_string() })
    }
}

impl std::fmt::Display for Mismatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.path.is_empty() {
            f.write_str(&self.message)
        } else {
            write!(f, "at {}: {}", self.path, self.message)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_first_mismatch_is_told_with_its_place() {
        let width = json!({"type": "object", "properties": {"width": {"type": "integer", "minimum": 1}}});
        let schema = Schema::new(width).unwrap();
        assert_eq!(schema.check(br#"{"width": 640}"#), Ok(()));
        let mismatch = schema.check(br#"{"width": "wide"}"#).unwrap_err();
        assert_eq!(mismatch.path, "/width");
        assert!(mismatch.to_string().contains("at /width: \"wide\" is not of type"), "{mismatch}");
        assert!(schema.check(b"7").unwrap_err().to_string().starts_with("7 is not"));
        assert!(Schema::new(json!({"type": "integre"})).is_err());
    }
}
