//! `-o custom-columns=NAME:.metadata.name,PHASE:.status.phase`, as in kubectl.

use std::str::FromStr;

use serde_json::Value;

use super::{
    jsonpath::{self, ValuePath},
    table::rendered,
};

/// Maximum length of a specification, in bytes.
const TEXT_MAX: usize = 16 * 1024;
const COLUMNS_MAX: usize = 100;

/// Column heads, and the paths of their cells.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Columns {
    columns: Vec<(String, ValuePath)>,
}

impl FromStr for Columns {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.len() > TEXT_MAX {
            return Err(format!("the columns are longer than {TEXT_MAX} bytes"));
        }
        if text.split(',').count() > COLUMNS_MAX {
            return Err(format!("there are more than {COLUMNS_MAX} columns"));
        }
        let column = |part: &str| {
            let (head, path) = part
                .split_once(':')
                .ok_or_else(|| format!("{part:?} is not a column; write NAME:.metadata.name"))?;
            let path = path.trim_start_matches('{').trim_end_matches('}');
            Ok::<_, String>((head.to_owned(), jsonpath::path_of(path)?))
        };
        Ok(Self {
            columns: text.split(',').map(column).collect::<Result<_, _>>()?,
        })
    }
}

impl Columns {
    /// A row for each object, as wide as the widest.
    pub(crate) fn render(&self, objects: &[Value], head: bool) -> String {
        let heads = self.columns.iter().map(|(title, _)| title.clone());
        let mut rows: Vec<Vec<String>> = Vec::new();
        rows.extend(head.then(|| heads.collect()));
        rows.extend(objects.iter().map(|object| {
            let cells = self.columns.iter();
            cells.map(|(_, path)| cell(object, path)).collect()
        }));
        rendered(rows.iter())
    }
}

fn cell(object: &Value, path: &ValuePath) -> String {
    let selected = path.select(object).into_iter().map(jsonpath::text_of);
    match selected.collect::<Vec<_>>().join(",") {
        empty if empty.is_empty() => "<none>".to_owned(),
        text => text,
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
        let render = |head| columns.render(&objects, head);
        assert_eq!(render(true), "NAME   IPS   NONE\nweb    1,2   <none>\n");
        assert_eq!(render(false), "web   1,2   <none>\n");
        assert!("NAME".parse::<Columns>().is_err());
    }

    #[test]
    fn columns_that_multiply_objects_are_refused() {
        let columns = |count: usize| vec!["A:.status"; count].join(",").parse::<Columns>();
        assert!(columns(COLUMNS_MAX).is_ok());
        assert!(columns(COLUMNS_MAX + 1).unwrap_err().contains("columns"));
        let long = format!("A:.{}", "a,B:.".repeat(TEXT_MAX));
        assert!(long.parse::<Columns>().is_err());
    }
}
