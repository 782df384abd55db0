//! Compares the check with what PyYAML says.

use proptest::prelude::*;

use super::super::{budget::CheckBudget, yaml};

const VERDICTS: &str = include_str!("verdicts.txt");

fn is_taken(text: &str) -> bool {
    let shape = yaml::shape_of(text, &CheckBudget::new());
    shape.is_ok() && yaml::check_as_python(text).is_none()
}

#[test]
fn what_pyyaml_refuses_is_refused_and_what_it_takes_is_taken() {
    let mut compared = 0;
    for line in VERDICTS.lines().filter(|line| !line.starts_with('#')) {
        let (verdict, text) = line.split_once(' ').unwrap();
        let text: String = serde_json::from_str(text).unwrap();
        assert_eq!(is_taken(&text), verdict == "takes", "{line}");
        compared += 1;
    }
    assert!(compared > 350, "{compared}");
}

#[test]
fn a_refusal_names_the_line_and_repeats_nothing() {
    for (text, words) in [
        ("a: 1\nb: 0x_\n", "no digits (line 2)"),
        ("a: 2026-02-30\n", "no calendar has that (line 1)"),
        ("a: &hunter2 1\nb: &hunter2 2\n", "defined twice"),
        ("a:\n- [curl, 'a', hunter2?b=c]\n", "question mark"),
        ("a: hunter2\u{2028}\n", "U+2028"),
        (
            "a: 1\n: hunter2\n",
            "a key is missing before a colon (line 2)",
        ),
        ("{hunter2\n: 1}\n", "not in one line (line 1)"),
    ] {
        let problem = super::check(text).expect(text);
        assert!(problem.message.contains(words), "{problem:?}");
        assert!(!format!("{problem:?}").contains("hunter2"), "{problem:?}");
    }
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "[-a0-9x_:?&*<={}\\[\\]'\"|\n \u{2028}é.]{0,60}") {
        let _ = super::check(&text);
    }

    #[test]
    fn no_date_makes_it_panic(date in "[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}[T ]?[0-9:.Z+ -]{0,20}") {
        let _ = super::python_scalars::refused(&date);
    }
}
