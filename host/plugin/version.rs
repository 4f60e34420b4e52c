//! A version of a plugin, loaded: described, configured, and able to make instances. Key type:
//! [`Version`].

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use wasmtime::component::InstancePre;

use super::bindings::exports::exports::trommel::plugin::lifecycle;
use super::component::{Compiler, LoadError, role_of, sha256};
use super::convert;
use super::guest::{Guest, Live, Memory};
use super::http::Http;
use super::instance::{Blueprint, Indices, Instance};
use super::quota::{Figures, Quota};
use super::retire::Retirement;
use crate::columns::Columns;
use crate::config::PluginFile;
use crate::outcome::{Answer, Signal};
use crate::runner::{self, Factory, Failure, Figure, Info, Role, Runner};
use crate::state::State;

/// What loading needs besides the file.
#[derive(Clone)]
pub struct Loader {
    /// Compiles.
    pub compiler: Compiler,
    /// Where instances wait.
    pub runtime: Handle,
    /// Ends what they wait for.
    pub stop: CancellationToken,
}

/// A loaded version.
pub struct Version {
    parts: Arc<Parts>,
}

struct Parts {
    info: Arc<Info>,
    id: u64,
    blueprint: Arc<Blueprint>,
    config: String,
    memory: usize,
    live: Arc<Live>,
    quota: Arc<Quota>,
    figures: Arc<Figures>,
    http: Option<Arc<Http>>,
    retirement: Retirement,
    /// Made and configured ahead of need: a swap then costs a pipeline next to nothing.
    ready: Mutex<Vec<Instance>>,
}

/// How many instances are made ahead.
const READY: usize = 2;

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

impl Loader {
    /// Loads a plugin: compiles, links, describes and configures it.
    ///
    /// # Errors
    /// What keeps it from serving.
    pub fn load(&self, name: &str, wasm: &[u8], file: &PluginFile) -> Result<Version, LoadError> {
        let hash = sha256(wasm);
        let component = self.compiler.compile(wasm, &hash)?;
        let role = role_of(&component)?;
        if role != Role::Export && !file.egress.allow.is_empty() {
            let what = format!("[egress] is for export plugins; this is a {} plugin", role.name());
            return Err(LoadError::File(what));
        }
        let engine = self.compiler.engine();
        let linker = if role == Role::Export { &engine.outward } else { &engine.inward };
        let link = |error: wasmtime::Error| LoadError::Link(format!("{error:#}"));
        let pre = linker.instantiate_pre(&component).map_err(link)?;
        let blueprint = Arc::new(self.blueprint(role, pre, file).map_err(link)?);
        let quota = Arc::new(Quota::new(name));
        let figures = Arc::new(Figures::default());
        let live = Arc::new(Live::default());
        let bare = || {
            let memory = Memory::new(file.limits.memory, Arc::clone(&live));
            Guest::new(memory, Arc::clone(&quota), Arc::clone(&figures), None)
        };

        let description = Instance::new(&blueprint, bare())
            .and_then(|mut instance| instance.describe())
            .map_err(|failure| LoadError::Describe(text(failure)))?;
        check_names(&description)?;
        check_schema(&description, file)?;
        let config = serde_json::Value::Object(file.config.clone()).to_string();
        let http = match role {
            Role::Export if !file.egress.allow.is_empty() => {
                Some(Arc::new(Http::new(&file.egress).map_err(LoadError::File)?))
            }
            _ => None,
        };
        let mut parts = Parts {
            info: Arc::new(Info {
                name: name.to_owned(),
                title: description.name,
                version: description.version,
                sha256: hash,
                role,
                wants: crate::runner::Wants::default(),
                memory: crate::runner::Remembers {
                    most: file.limits.state,
                    life: file.limits.state_life,
                },
            }),
            id: 0,
            blueprint,
            config,
            memory: file.limits.memory,
            live,
            quota,
            figures,
            http,
            retirement: engine.retirement.clone(),
            ready: Mutex::default(),
        };
        let (first, wants) = parts.make()?;
        let info = Info { wants: convert::wants(wants), ..(*parts.info).clone() };
        parts.info = Arc::new(info);
        parts.id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        let mut ready = vec![first];
        while ready.len() < READY {
            ready.push(parts.make()?.0);
        }
        parts.ready = Mutex::new(ready);
        Ok(Version { parts: Arc::new(parts) })
    }

    fn blueprint(
        &self,
        role: Role,
        pre: InstancePre<Guest>,
        file: &PluginFile,
    ) -> wasmtime::Result<Blueprint> {
        Ok(Blueprint {
            lifecycle: lifecycle::GuestIndices::new(&pre)?,
            indices: Indices::new(role, &pre)?,
            pre,
            time: file.limits.time,
            output: file.limits.output,
            runtime: self.runtime.clone(),
            stop: self.stop.clone(),
        })
    }
}

impl Parts {
    /// Makes and configures an instance.
    fn make(&self) -> Result<(Instance, lifecycle::Wants), LoadError> {
        let configure = |failure| LoadError::Configure(text(failure));
        let (quota, figures) = (Arc::clone(&self.quota), Arc::clone(&self.figures));
        let memory = Memory::new(self.memory, Arc::clone(&self.live));
        let guest = Guest::new(memory, quota, figures, self.http.clone());
        let mut instance = Instance::new(&self.blueprint, guest).map_err(configure)?;
        let wants =
            instance.configure(&self.config).map_err(configure)?.map_err(LoadError::Refused)?;
        Ok((instance, wants))
    }
}

impl Factory for Version {
    fn info(&self) -> &Arc<Info> {
        &self.parts.info
    }

    fn version_id(&self) -> u64 {
        self.parts.id
    }

    fn figures(&self) -> BTreeMap<String, Figure> {
        self.parts.figures.all()
    }

    fn memory(&self) -> runner::Memory {
        let live = &self.parts.live;
        runner::Memory {
            instances: live.instances.load(Ordering::Relaxed),
            used: live.used.load(Ordering::Relaxed),
            limit: self.parts.memory as u64,
        }
    }

    fn make(&self) -> Result<Box<dyn Runner>, String> {
        let ready = self.parts.ready.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let instance = match ready {
            Some(instance) => instance,
            None => self.parts.make().map_err(|error| error.to_string())?.0,
        };
        Ok(Box::new(InstanceRunner { parts: Arc::clone(&self.parts), instance: Some(instance) }))
    }
}

/// Runs one instance, and a new one in its place when it failed or wore out.
struct InstanceRunner {
    parts: Arc<Parts>,
    instance: Option<Instance>,
}

impl InstanceRunner {
    fn with<T>(
        &mut self,
        call: impl FnOnce(&mut Instance) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let mut instance =
            match self.instance.take() {
                Some(instance) => instance,
                None => self.parts.make().map(|made| made.0).map_err(|error| {
                    Failure::Failed(crate::runner::Reason::Trap, error.to_string())
                })?,
            };
        let result = call(&mut instance);
        // After a failure nothing can be known of what is in it, even where it could go on.
        if result.is_ok() && !instance.is_worn() {
            self.instance = Some(instance);
            return result;
        }
        if result.is_ok() {
            let memory = instance.memory();
            tracing::debug!(plugin = self.parts.info.name, memory, "instance worn out, replaced");
        }
        self.parts.retirement.take(instance);
        result
    }
}

impl Drop for InstanceRunner {
    fn drop(&mut self) {
        let parts = Arc::clone(&self.parts);
        self.parts.retirement.take((self.instance.take(), parts));
    }
}

impl Drop for Version {
    fn drop(&mut self) {
        self.parts.retirement.take(Arc::clone(&self.parts));
    }
}

impl Runner for InstanceRunner {
    fn info(&self) -> &Arc<Info> {
        &self.parts.info
    }

    fn run(
        &mut self,
        columns: &Columns<'_>,
        now: u64,
        state: &mut State,
    ) -> Result<Answer, Failure> {
        self.with(|instance| instance.call(columns, now, state))
    }

    fn tick(&mut self, now: u64, state: &mut State) -> Result<Vec<Signal>, Failure> {
        self.with(|instance| instance.tick(now, state))
    }
}

fn text(failure: Failure) -> String {
    match failure {
        Failure::Failed(_, detail) => detail,
        Failure::Stopped => "the host is stopping".to_owned(),
    }
}

/// Longest name and version that a plugin gives itself.
const MAX_NAME: usize = 100;

/// What a plugin calls itself stands in logs, metrics and every one of its dead letters.
fn check_names(description: &lifecycle::Description) -> Result<(), LoadError> {
    for (what, text) in [("name", &description.name), ("version", &description.version)] {
        if text.len() > MAX_NAME {
            let length = text.len();
            let what = format!("its {what} has {length} bytes; {MAX_NAME} is the most");
            return Err(LoadError::Describe(what));
        }
        if text.chars().any(char::is_control) {
            return Err(LoadError::Describe(format!("its {what} holds control characters")));
        }
    }
    Ok(())
}

fn check_schema(description: &lifecycle::Description, file: &PluginFile) -> Result<(), LoadError> {
    if description.config_schema.trim().is_empty() {
        return Ok(());
    }
    let schema = serde_json::from_str(&description.config_schema)
        .map_err(|error| LoadError::Schema(error.to_string()))?;
    let validator =
        jsonschema::validator_for(&schema).map_err(|error| LoadError::Schema(error.to_string()))?;
    let config = serde_json::Value::Object(file.config.clone());
    let wrong: Vec<String> = validator
        .iter_errors(&config)
        .map(|error| {
            let path = error.instance_path().to_string().replace('/', ".");
            format!("config{path}: {error}")
        })
        .take(10)
        .collect();
    if wrong.is_empty() { Ok(()) } else { Err(LoadError::Refused(wrong.join("; "))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_plugin_calls_itself_is_bounded() {
        let description = |name: &str, version: &str| lifecycle::Description {
            name: name.to_owned(),
            version: version.to_owned(),
            config_schema: String::new(),
        };
        assert_eq!(check_names(&description("Füllstand", "1.2.3-beta+7")), Ok(()));
        let long = "v".repeat(101);
        let refused = |name: &str, version: &str| {
            check_names(&description(name, version)).unwrap_err().to_string()
        };
        assert_eq!(
            refused("a", &long),
            "describe failed: its version has 101 bytes; 100 is the most"
        );
        assert_eq!(refused("a\n", "1"), "describe failed: its name holds control characters");
    }
}
