//! `-o custom-columns=NAME:.metadata.name,PHASE:.status.phase`, as in kubectl.

use std::str::FromStr;

use serde_json::Value;

use super::{
    jsonpath::{self, Evaluation, TooMuch, ValuePath},
    table::{line, shown, widths},
};

/// Maximum length of a specification, in bytes.
const TEXT_MAX: usize = 16 * 1024;
const COLUMNS_MAX: usize = 100;

/// Column heads, and the paths of their cells.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Columns {
    text: String,
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
    ///
    /// # Errors
    /// If that needs too much.
    pub(crate) fn render(
        &self,
        objects: &[Value],
        head: bool,
        mut into: Evaluation,
    ) -> Result<String, TooMuch> {
        let heads = self.columns.iter().map(|(title, _)| shown(title));
        let mut rows: Vec<Vec<String>> = Vec::new();
        rows.extend(head.then(|| heads.collect()));
        for object in objects {
            let cells = self.columns.iter().map(|(_, path)| {
                into.check()?;
                let text = shown(&cell(object, path));
                into.hold(text.len())?;
                Ok(text)
            });
            rows.push(cells.collect::<Result<Vec<String>, TooMuch>>()?);
        }
        // Each row is as wide as the widest.
        let widths = widths(&rows);
        for row in rows {
            into.push(&line(&row, &widths))?;
        }
        Ok(into.into_text())
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
        let render = |head| {
            let into = jsonpath::evaluation();
            columns.render(&objects, head, into).unwrap()
        };
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

    #[test]
    fn rows_that_are_as_wide_as_the_widest_count_as_what_they_are() {
        let columns: Columns = "A:.a".parse().unwrap();
        let render = |objects: &[Value]| columns.render(objects, true, jsonpath::evaluation());
        let mut objects = vec![json!({"a": "x".repeat(1 << 20)})];
        assert!(render(&objects).is_ok());
        objects.extend(vec![json!({"a": "x".repeat(1 << 20)}); 40]);
        assert_eq!(render(&objects), Err(TooMuch), "cells and lines");
    }
}
