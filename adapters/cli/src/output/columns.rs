//! `-o custom-columns=NAME:.metadata.name,PHASE:.status.phase`, as in kubectl.

use std::str::FromStr;

use serde_json::Value;

use super::{jsonpath, table::rendered};

/// Column heads, and the paths of their cells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Columns {
    text: String,
    columns: Vec<(String, String)>,
}

impl FromStr for Columns {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let column = |part: &str| {
            let (head, path) = part
                .split_once(':')
                .ok_or_else(|| format!("{part:?} is not a column; write NAME:.metadata.name"))?;
            let path = path.trim_start_matches('{').trim_end_matches('}');
            Ok::<_, String>((head.to_owned(), jsonpath::path_of(path)?))
        };
        Ok(Self {
            text: text.to_owned(),
            columns: text.split(',').map(column).collect::<Result<_, _>>()?,
        })
    }
}

impl Columns {
    /// The specification as the user wrote it.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// A row for each object.
    pub(crate) fn render(&self, objects: &[Value], head: bool) -> String {
        let cell = |object: &Value, path: &str| {
            let found = jsonpath::found(object, path)
                .into_iter()
                .map(jsonpath::text_of);
            match found.collect::<Vec<_>>().join(",") {
                empty if empty.is_empty() => "<none>".to_owned(),
                text => text,
            }
        };
        let heads = head.then(|| {
            self.columns
                .iter()
                .map(|(title, _)| title.clone())
                .collect()
        });
        let rows = objects.iter().map(|object| {
            self.columns
                .iter()
                .map(|(_, path)| cell(object, path))
                .collect()
        });
        rendered(
            heads
                .into_iter()
                .chain(rows)
                .collect::<Vec<Vec<String>>>()
                .iter(),
        )
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_row_has_a_cell_for_each_path() {
        let columns: Columns = "NAME:.metadata.name,IPS:.ips[*],NONE:{.x}".parse().unwrap();
        let objects = [json!({"metadata": {"name": "web"}, "ips": ["1", "2"]})];
        assert_eq!(
            columns.render(&objects, true),
            "NAME   IPS   NONE\nweb    1,2   <none>\n"
        );
        assert_eq!(columns.render(&objects, false), "web   1,2   <none>\n");
        assert!("NAME".parse::<Columns>().is_err());
    }
}
