//! The turns of namespaces in checks of texts for guests: user-data, vendor-data, network configurations, and regular
//! expressions that their consoles are to match.
//!
//! Such a check may take seconds, and one pass of the controller translates the objects of all namespaces. So each pass
//! checks new texts for a limited time, of each namespace in turn. The namespaces that needed most time lately are last.
//! Objects whose texts remain unchecked are left as they are until the next pass.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use vsiflow_workflows::spec::{
    Document, FieldPath, GroupSpec, Problem, ProblemCode, VsiSpec, guest_texts,
};

use super::TranslationPass;

/// For how long new texts are checked in one pass. In each, at least one text is checked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TextLimits {
    /// Those of one namespace while others have some, too.
    each: Duration,
    /// All together.
    all: Duration,
}

const LIMITS: TextLimits = TextLimits {
    each: Duration::from_secs(1),
    all: Duration::from_secs(5),
};
/// In each pass a namespace's time counts this many times less.
const FORGET: u32 = 2;
/// Less time than this is forgotten.
const LEAST: Duration = Duration::from_millis(1);

/// How much time the texts of each namespace took lately.
#[derive(Debug)]
pub(crate) struct TextTurns {
    limits: TextLimits,
    spent: Mutex<BTreeMap<String, Duration>>,
}

impl Default for TextTurns {
    fn default() -> Self {
        Self::within(LIMITS)
    }
}

impl TextTurns {
    fn within(limits: TextLimits) -> Self {
        Self {
            limits,
            spent: Mutex::default(),
        }
    }

    /// Checks documents by namespace, within the limits. Returns those that remain.
    fn check<T>(&self, by_namespace: BTreeMap<String, VecDeque<T>>, check: impl Fn(&T)) -> Vec<T> {
        let mut spent = self.lock();
        spent.retain(|_, time| {
            *time = time.checked_div(FORGET).unwrap_or_default();
            *time >= LEAST
        });
        let mut queues: Vec<_> = by_namespace.into_iter().collect();
        queues.sort_by_key(|(namespace, _)| spent.get(namespace).copied().unwrap_or_default());
        let (begun, mut is_first) = (Instant::now(), true);
        for limit in [self.limits.each, self.limits.all] {
            for (namespace, queue) in &mut queues {
                let namespace_begun = Instant::now();
                let has_time =
                    || begun.elapsed() < self.limits.all && namespace_begun.elapsed() < limit;
                while (is_first || has_time())
                    && let Some(document) = queue.pop_front()
                {
                    is_first = false;
                    let check_begun = Instant::now();
                    check(&document);
                    let time = spent.entry(namespace.clone()).or_default();
                    *time = time.saturating_add(check_begun.elapsed());
                }
            }
        }
        queues.into_iter().flat_map(|(_, queue)| queue).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Duration>> {
        self.spent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What takes one turn.
enum UncheckedText<'a> {
    /// The texts of a VSI, or of a template of members.
    Vsi(&'a Document<VsiSpec>),
    /// An expression of a group.
    OfGroup {
        document: &'a Document<GroupSpec>,
        pattern: &'a str,
    },
}

impl UncheckedText<'_> {
    fn not_checked(&self) -> Problem {
        match self {
            Self::Vsi(document) => not_checked(document),
            Self::OfGroup { document, .. } => not_checked(document),
        }
    }
}

impl TranslationPass {
    /// Checks the texts of all documents, and leaves out those that are not checked in this pass.
    pub(super) fn check_texts(&mut self, turns: &TextTurns) {
        let members = self.within_pools();
        let templates = members.iter().map(|(member, _)| member);
        let documents = &self.documents;
        let mut by_namespace = BTreeMap::<String, VecDeque<UncheckedText<'_>>>::new();
        for document in documents.vsis.iter().chain(templates) {
            if !guest_texts::are_checked(document, documents) {
                let namespace = document.meta.namespace.clone();
                by_namespace
                    .entry(namespace)
                    .or_default()
                    .push_back(UncheckedText::Vsi(document));
            }
        }
        for document in &documents.groups {
            let unchecked = guest_texts::unchecked_patterns(document).into_iter();
            let mut unchecked = unchecked
                .map(|pattern| UncheckedText::OfGroup { document, pattern })
                .peekable();
            if unchecked.peek().is_some() {
                let queue = by_namespace.entry(document.meta.namespace.clone());
                queue.or_default().extend(unchecked);
            }
        }
        let rest = turns.check(by_namespace, |text| match text {
            UncheckedText::Vsi(document) => guest_texts::check(document, documents),
            UncheckedText::OfGroup { pattern, .. } => guest_texts::check_pattern(pattern),
        });
        let problems: Vec<_> = rest.iter().map(UncheckedText::not_checked).collect();
        self.translation.has_unchecked = !problems.is_empty();
        self.refuse(problems);
    }
}

fn not_checked<T>(document: &Document<T>) -> Problem {
    let message = format!(
        "its texts for guests are not checked yet: those of namespace {} take long, and are checked after those of \
         others",
        document.meta.namespace
    );
    document.problem(
        ProblemCode::NotChecked,
        FieldPath::of(["spec"]),
        message,
        "wait; if it lasts, write less into user-data, vendor-data and network configurations, without aliases and \
         packed parts, and shorter expressions",
    )
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use serde_json::json;

    use super::*;
    use crate::{
        kind::ResourceKind,
        resource::Resource,
        sample::{resource, rules, uid, world},
        translate::{TranslationRules, translate},
    };

    /// One text is checked in each pass.
    const ONE_A_PASS: TextLimits = TextLimits {
        each: Duration::ZERO,
        all: Duration::ZERO,
    };

    fn queues(counts: &[(&str, usize)]) -> BTreeMap<String, VecDeque<String>> {
        let queue = |(namespace, count): &(&str, usize)| {
            let named = (0..*count).map(|number| format!("{namespace}{number}"));
            ((*namespace).to_owned(), named.collect())
        };
        counts.iter().map(queue).collect()
    }

    #[test]
    fn a_namespace_whose_texts_took_long_is_last_in_the_next_pass() {
        let turns = TextTurns::within(ONE_A_PASS);
        let checked = Mutex::new(Vec::new());
        let check = |text: &String| {
            if text.starts_with("costly") {
                std::thread::sleep(LEAST * 8);
            }
            checked.lock().unwrap().push(text.clone());
        };
        let rest = turns.check(queues(&[("costly", 3), ("other", 2)]), check);
        assert_eq!(rest, ["costly1", "costly2", "other0", "other1"]);
        turns.check(queues(&[("costly", 2), ("other", 2)]), check);
        turns.check(queues(&[("costly", 2), ("other", 1)]), check);
        let order = checked.lock().unwrap().clone();
        assert_eq!(order, ["costly0", "other0", "other0"]);
    }

    #[test]
    fn within_the_limits_everything_is_checked_and_each_namespace_has_its_time() {
        let turns = TextTurns::within(TextLimits {
            each: Duration::from_millis(20),
            all: Duration::from_millis(200),
        });
        let check = |text: &String| {
            if text.starts_with("costly") {
                std::thread::sleep(Duration::from_millis(15));
            }
        };
        let rest = turns.check(queues(&[("costly", 400), ("other", 9)]), check);
        assert!(rest.iter().all(|text| text.starts_with("costly")));
        assert!(!rest.is_empty() && rest.len() < 400, "{}", rest.len());
        assert!(turns.check(queues(&[("costly", 2)]), check).is_empty());
    }

    /// A VSI with a user-data that is unlike all others and long enough to be remembered.
    fn server(number: u8) -> Arc<Resource> {
        let text = format!("#cloud-config\n# turns {number}{}\n", " x".repeat(1_000));
        let rest = json!({"spec": {
            "guest": {"type": "cloudInit", "userData": text},
            "imageURL": "http://images.example/a.qcow2",
            "targetSelector": {"matchLabels": {"config": "lpar1"}},
        }});
        resource(
            ResourceKind::VirtualServer,
            &format!("v{number}"),
            number,
            rest,
        )
    }

    #[test]
    fn objects_whose_texts_are_not_checked_yet_are_left_as_they_are_and_say_so() {
        let snapshot = world(vec![server(1), server(2)]);
        let rules = TranslationRules {
            text_turns: Arc::new(TextTurns::within(ONE_A_PASS)),
            ..rules(None)
        };
        let first = translate(&snapshot, &rules);
        assert!(first.has_unchecked);
        assert_eq!(first.vsis.keys().collect::<Vec<_>>(), [&uid(1)]);
        let problems = first.problems.values().next().unwrap();
        assert_eq!(problems[0].code, ProblemCode::NotChecked);
        let second = translate(&snapshot, &rules);
        assert!(!second.has_unchecked);
        assert_eq!(second.vsis.len(), 2);
        assert!(second.problems.is_empty(), "{:?}", second.problems);
    }

    #[test]
    fn expressions_of_probes_gates_and_outputs_take_turns_and_are_compiled_once() {
        let ready = json!({"all": [{"console": "turns of probes [a-z]"}]});
        let template = json!({"metadata": {"labels": {}}, "spec": {
            "imageURL": "http://images.example/a.qcow2",
            "targetSelector": {"matchLabels": {"config": "lpar1"}},
            "guest": {"type": "none"},
            "ready": ready,
        }});
        let group = resource(
            ResourceKind::Group,
            "g",
            1,
            json!({"spec": {
                "waves": [{
                    "name": "w",
                    "members": [{"name": "m", "template": template}],
                    "gate": {"probes": [{"console": "turns of gates [a-z]"}]},
                }],
                "outputs": [{"name": "o", "member": "m-0", "console": "turns of outputs ([a-z])"}],
            }}),
        );
        let snapshot = world(vec![group]);
        let rules = TranslationRules {
            text_turns: Arc::new(TextTurns::within(ONE_A_PASS)),
            ..rules(None)
        };
        for _ in 0..2 {
            assert!(translate(&snapshot, &rules).has_unchecked);
        }
        let last = translate(&snapshot, &rules);
        assert!(!last.has_unchecked);
        assert_eq!(last.groups.len(), 1, "{:?}", last.problems);
    }
}
