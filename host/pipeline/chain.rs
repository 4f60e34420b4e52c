//! Which plugins a pipeline runs through, in which order, or why it must wait. Pure. Key function:
//! [`resolve`].

use std::sync::Arc;

use crate::runner::{Factory, Plugins, Role};

/// The plugins of a pipeline, export plugins last, or what keeps it from running.
pub type Resolved = Result<Vec<Arc<dyn Factory>>, Held>;

/// Why a pipeline is held: nothing may slip past a plugin that should be there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.join("; "))]
pub struct Held(pub Vec<String>);

/// Chooses the plugins: those named, or, with `through` absent, all that there are. `is_built_in`
/// says that the pipeline takes from the source `trommel`, where alert plugins would chase their
/// own tails.
///
/// # Errors
/// Every plugin that is missing.
pub fn resolve(plugins: &Plugins, through: Option<&[String]>, is_built_in: bool) -> Resolved {
    let chosen = match through {
        Some(names) => named(plugins, names, is_built_in)?,
        None => all(plugins, is_built_in)?,
    };
    let (exports, others): (Vec<_>, Vec<_>) =
        chosen.into_iter().partition(|factory| factory.info().role == Role::Export);
    Ok(others.into_iter().chain(exports).collect())
}

fn named(plugins: &Plugins, names: &[String], is_built_in: bool) -> Resolved {
    let mut chosen = Vec::new();
    let mut missing = Vec::new();
    for name in names {
        let entry = plugins.entries.get(name);
        match entry.and_then(|entry| entry.serving.as_ref()) {
            Some(factory) if is_built_in && factory.info().role == Role::Alert => {
                missing.push(format!(
                    "plugin {name:?} is an alert plugin, and this pipeline takes from \"trommel\""
                ));
            }
            Some(factory) => chosen.push(Arc::clone(factory)),
            None => missing.push(why_missing(name, entry)),
        }
    }
    if missing.is_empty() { Ok(chosen) } else { Err(Held(missing)) }
}

fn all(plugins: &Plugins, is_built_in: bool) -> Resolved {
    let mut chosen = Vec::new();
    let mut missing = Vec::new();
    for (name, entry) in &plugins.entries {
        match &entry.serving {
            Some(factory) if is_built_in && factory.info().role == Role::Alert => {}
            Some(factory) => chosen.push(Arc::clone(factory)),
            None if entry.is_required => missing.push(why_missing(name, Some(entry))),
            None => {}
        }
    }
    if missing.is_empty() { Ok(chosen) } else { Err(Held(missing)) }
}

fn why_missing(name: &str, entry: Option<&crate::runner::Entry>) -> String {
    match entry {
        None => format!("plugin {name:?} is not there"),
        Some(entry) => match &entry.error {
            Some(error) => {
                let first_line = error.lines().next().unwrap_or_default();
                format!("plugin {name:?} has never loaded: it {first_line}")
            }
            None => format!("plugin {name:?} is being loaded"),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runner::{Entry, Info, Runner, Wants};

    struct Fake(Arc<Info>);

    impl Factory for Fake {
        fn info(&self) -> &Arc<Info> {
            &self.0
        }
        fn version_id(&self) -> u64 {
            0
        }
        fn make(&self) -> Result<Box<dyn Runner>, String> {
            Err("not made in this test".to_owned())
        }
    }

    fn plugins(entries: &[(&str, Option<Role>, bool)]) -> Plugins {
        let entry = |name: &str, role: Option<Role>, is_required| Entry {
            serving: role.map(|role| {
                let info = Info {
                    name: name.to_owned(),
                    title: String::new(),
                    version: String::new(),
                    sha256: String::new(),
                    role,
                    wants: Wants::default(),
                    memory: Default::default(),
                };
                Arc::new(Fake(Arc::new(info))) as Arc<dyn Factory>
            }),
            is_required,
            error: None,
            is_loading: false,
            sha256: String::new(),
        };
        Plugins {
            entries: entries
                .iter()
                .map(|(name, role, required)| ((*name).to_owned(), entry(name, *role, *required)))
                .collect(),
        }
    }

    fn names(resolved: Resolved) -> Vec<String> {
        resolved.unwrap_or_default().iter().map(|f| f.info().name.clone()).collect()
    }

    #[test]
    fn all_run_in_file_name_order_with_exports_last() {
        let plugins = plugins(&[
            ("05-out", Some(Role::Export), true),
            ("10-f", Some(Role::Filter), true),
            ("20-a", Some(Role::Alert), false),
            ("30-late", None, false),
        ]);
        assert_eq!(names(resolve(&plugins, None, false)), ["10-f", "20-a", "05-out"]);
        assert_eq!(names(resolve(&plugins, None, true)), ["10-f", "05-out"]);
    }

    #[test]
    fn what_should_be_there_and_is_not_holds_the_pipeline() {
        let plugins = plugins(&[("10-f", None, true), ("20-a", Some(Role::Alert), true)]);
        let held = |through: Option<&[String]>, built_in| {
            resolve(&plugins, through, built_in).map(drop).unwrap_err().to_string()
        };
        assert_eq!(held(None, false), "plugin \"10-f\" is being loaded");
        assert_eq!(held(Some(&["x".to_owned()]), false), "plugin \"x\" is not there");
        assert!(held(Some(&["20-a".to_owned()]), true).contains("alert plugin"));
        assert_eq!(names(resolve(&plugins, Some(&["20-a".to_owned()]), false)), ["20-a"]);
    }
}
