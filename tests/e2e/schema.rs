//! Compares an answer with the part of an OpenAPI description that promises it. Knows what the description uses: `$ref`,
//! `oneOf`, `anyOf`, `allOf`, types, required and known properties, enums, items.

use serde_json::Value;

/// A description, and what it is compared with.
pub struct Schema<'a> {
    document: &'a Value,
}

impl<'a> Schema<'a> {
    /// Of this description.
    pub fn new(document: &'a Value) -> Self {
        Self { document }
    }

    /// Everything in which a value differs from a schema, each with its place.
    pub fn differences(&self, schema: &Value, value: &Value, place: &str) -> Vec<String> {
        self.compare(schema, value, place, true)
    }

    /// `closed`: properties that the schema does not name are differences.
    fn compare(&self, schema: &Value, value: &Value, place: &str, closed: bool) -> Vec<String> {
        if let Some(name) = schema["$ref"].as_str() {
            let target = name
                .strip_prefix('#')
                .and_then(|at| self.document.pointer(at));
            return match target {
                Some(target) => self.compare(target, value, place, closed),
                None => vec![format!("{place}: {name} is not in the description")],
            };
        }
        if let Some(choices) = schema["oneOf"].as_array().or(schema["anyOf"].as_array()) {
            let each = choices
                .iter()
                .map(|one| self.compare(one, value, place, closed));
            let all: Vec<_> = each.collect();
            if all.iter().any(Vec::is_empty) {
                return Vec::new();
            }
            let nearest = all.into_iter().min_by_key(Vec::len).unwrap_or_default();
            return [vec![format!("{place}: fits none of the choices")], nearest].concat();
        }
        if let Some(parts) = schema["allOf"].as_array() {
            // Each part names some of the properties only.
            let each = parts
                .iter()
                .map(|one| self.compare(one, value, place, false));
            return each.flatten().collect();
        }
        let mut found = Vec::new();
        if !of_type(&schema["type"], value) {
            let (wanted, shown) = (&schema["type"], shorten(value));
            found.push(format!("{place}: {shown} is not of type {wanted}"));
        }
        if let Some(choices) = schema["enum"].as_array()
            && !choices.contains(value)
        {
            found.push(format!(
                "{place}: {} is none of {choices:?}",
                shorten(value)
            ));
        }
        if let (Some(items), Some(values)) = (schema.get("items"), value.as_array()) {
            for (index, one) in values.iter().enumerate() {
                found.extend(self.compare(items, one, &format!("{place}[{index}]"), true));
            }
        }
        if value.is_object() {
            found.extend(self.compare_object(schema, value, place, closed));
        }
        found
    }

    fn compare_object(&self, schema: &Value, value: &Value, at: &str, closed: bool) -> Vec<String> {
        let mut found = Vec::new();
        for name in schema["required"].as_array().into_iter().flatten() {
            let name = name.as_str().unwrap_or_default();
            if value.get(name).is_none() {
                found.push(format!("{at}: {name} is required and missing"));
            }
        }
        let others = schema
            .get("additionalProperties")
            .filter(|one| one.is_object());
        for (name, one) in value.as_object().into_iter().flatten() {
            let place = format!("{at}.{name}");
            match schema["properties"].get(name).or(others) {
                Some(schema) => found.extend(self.compare(schema, one, &place, true)),
                None if closed && schema.get("properties").is_some() => {
                    found.push(format!("{place}: is not described"));
                }
                None => {}
            }
        }
        found
    }
}

fn of_type(wanted: &Value, value: &Value) -> bool {
    let one = |name: &str| match name {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => false,
    };
    match wanted {
        Value::String(name) => one(name),
        Value::Array(names) => names.iter().filter_map(Value::as_str).any(one),
        _ => true,
    }
}

fn shorten(value: &Value) -> String {
    value.to_string().chars().take(80).collect()
}
