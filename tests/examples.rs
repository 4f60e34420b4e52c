//! The examples as golden tests: each folder of `examples/` with a `trommel.toml` is run on its recorded
//! input and must give what lies beside it. `UPDATE_GOLDEN=1` writes that anew.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use crate::support::{TROMMEL, Tally, json_lines, output_of, plugin, repository};

/// What an example's run leaves behind, by the name of the file that says what it should be.
type Outputs = BTreeMap<String, PathBuf>;

#[test]
fn every_example_gives_what_it_says() {
    let is_update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let mut wrong = Vec::new();
    for example in examples() {
        let dir = copy_of(&example);
        run(dir.path());
        let outputs = outputs(dir.path());
        if is_update {
            update(&example, &outputs);
        }
        wrong.extend(differences(&example, &outputs));
    }
    assert!(wrong.is_empty(), "{}\nUPDATE_GOLDEN=1 takes it as it is", wrong.join("\n"));
}

#[test]
fn every_readme_shows_a_source_that_takes_the_place_of_the_recording() {
    for example in examples() {
        let dir = copy_of(&example);
        let file = dir.path().join("trommel.toml");
        let readme = fs::read_to_string(example.join("README.md")).unwrap();
        let live = toml_blocks(&readme).into_iter().find(|block| block.contains("\"central\""));
        let live = live.unwrap_or_else(|| panic!("{}: no central source", example.display()));
        fs::write(&file, replaced(&fs::read_to_string(&file).unwrap(), &live)).unwrap();
        let checked = output_of(
            Command::new(TROMMEL)
                .args(["check", "--config"])
                .arg(&file)
                .env("CENTRAL_CLIENT_ID", "id")
                .env("CENTRAL_CLIENT_SECRET", "secret"),
        );
        let told = String::from_utf8_lossy(&checked.stderr);
        assert!(checked.status.success(), "{}: {told}", example.display());
    }
}

/// The folders of `examples/` that are pipelines.
fn examples() -> Vec<PathBuf> {
    let entries = fs::read_dir(repository().join("examples")).unwrap();
    let mut examples: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    examples.retain(|path| path.join("trommel.toml").is_file());
    examples.sort();
    assert!(examples.len() >= 3, "{examples:?}");
    examples
}

/// A copy of an example, with its plugins beside their configuration. What a run by hand left in its
/// folder is not taken along.
fn copy_of(example: &Path) -> TempDir {
    let dir = TempDir::new().unwrap();
    copy_files(example, dir.path(), &["toml", "frames"]);
    let plugins = dir.path().join("plugins.d");
    fs::create_dir(&plugins).unwrap();
    for toml in copy_files(&example.join("plugins.d"), &plugins, &["toml"]) {
        fs::copy(plugin(&built(&toml)), toml.with_extension("wasm")).unwrap();
    }
    dir
}

/// Copies the files with one of these endings, and says which they are now.
fn copy_files(from: &Path, to: &Path, endings: &[&str]) -> Vec<PathBuf> {
    let mut copies = Vec::new();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|ending| endings.iter().any(|known| ending == *known)) {
            let copy = to.join(path.file_name().unwrap());
            fs::copy(&path, &copy).unwrap();
            copies.push(copy);
        }
    }
    copies
}

/// The plugin that a configuration is for, from its first line: `# plugin: NAME`.
fn built(toml: &Path) -> String {
    let text = fs::read_to_string(toml).unwrap();
    let name = text.lines().next().and_then(|line| line.strip_prefix("# plugin: "));
    name.unwrap_or_else(|| panic!("{}: no `# plugin: NAME`", toml.display())).to_owned()
}

/// Runs a pipeline to the end of its recording; nothing may be left on its way.
fn run(dir: &Path) {
    let run = output_of(
        Command::new(TROMMEL)
            .args(["run", "--set", "listen=127.0.0.1:0", "--config"])
            .arg(dir.join("trommel.toml")),
    );
    let log = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{}: {log}", run.status);
    let tally = Tally::read(&log);
    assert!(tally.received > 0 && tally.in_flight == 0, "{log}");
}

/// `output.jsonl` is told by `expected.jsonl`, any other file by `expected-NAME`; dead letters count
/// if there are any.
fn outputs(dir: &Path) -> Outputs {
    let mut outputs = Outputs::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if name == "output.jsonl" {
            outputs.insert("expected.jsonl".to_owned(), path);
        } else if name.ends_with(".jsonl") && !name.starts_with("expected") {
            outputs.insert(format!("expected-{name}"), path);
        }
    }
    let letters = dir.join("data/dead-letters.jsonl");
    if fs::metadata(&letters).is_ok_and(|letters| letters.len() > 0) {
        outputs.insert("expected-dead-letters.jsonl".to_owned(), letters);
    }
    outputs
}

/// What an example's folder says that there should be.
fn expected(example: &Path) -> Outputs {
    let entries = fs::read_dir(example).unwrap().map(|entry| entry.unwrap());
    let named = entries.map(|entry| (entry.file_name().into_string().unwrap(), entry.path()));
    named.filter(|(name, _)| name.starts_with("expected") && name.ends_with(".jsonl")).collect()
}

fn differences(example: &Path, outputs: &Outputs) -> Vec<String> {
    let expected = expected(example);
    let name = example.file_name().unwrap().display();
    let mut wrong = Vec::new();
    if !expected.contains_key("expected.jsonl") {
        wrong.push(format!("{name}: there is no expected.jsonl"));
    }
    for file in expected.keys().filter(|file| !outputs.contains_key(*file)) {
        wrong.push(format!("{name}: nothing was written of what {file} says"));
    }
    for (file, output) in outputs {
        let said = expected.get(file).map(|path| lines(path)).unwrap_or_default();
        wrong
            .extend(difference(&said, &lines(output)).map(|what| format!("{name}/{file}: {what}")));
    }
    wrong
}

/// The first line in which a file is not what is said.
fn difference(said: &[Value], found: &[Value]) -> Option<String> {
    let at = (0..said.len().max(found.len())).find(|n| said.get(*n) != found.get(*n))?;
    let show = |line: Option<&Value>| line.map_or("nothing".to_owned(), Value::to_string);
    let (number, said, found) = (at + 1, show(said.get(at)), show(found.get(at)));
    Some(format!("line {number} should be\n  {said}\nbut is\n  {found}"))
}

/// The lines of a file as they can be compared: in order within each stream, since nothing is promised
/// across streams, and without what differs from run to run.
fn lines(path: &Path) -> Vec<Value> {
    let mut lines = json_lines(path);
    lines.sort_by_key(|line| line["stream"].as_str().unwrap_or_default().to_owned());
    lines.iter_mut().for_each(forget_the_run);
    lines
}

/// Takes away when it happened from what the host itself tells: its events and dead letters.
fn forget_the_run(line: &mut Value) {
    let is_event = line.get("specversion").is_some();
    let is_own = line["type"].as_str().is_some_and(|ty| ty.starts_with("trommel."));
    let Some(line) = line.as_object_mut().filter(|_| is_own || !is_event) else { return };
    line.remove("id");
    line.remove("time");
}

/// Writes anew what differs; what does not stays as it is, to the byte.
fn update(example: &Path, outputs: &Outputs) {
    for (file, path) in expected(example) {
        if !outputs.contains_key(&file) {
            fs::remove_file(path).unwrap();
        }
    }
    for (file, output) in outputs {
        let golden = example.join(file);
        if !golden.exists() || lines(&golden) != lines(output) {
            // Not a copy: dead letters are for their user alone, an example is for all.
            fs::write(golden, fs::read(output).unwrap()).unwrap();
        }
    }
}

/// The blocks of a page between ```` ```toml ```` and ```` ``` ````.
fn toml_blocks(page: &str) -> Vec<String> {
    let blocks = page.split("```toml\n").skip(1);
    blocks.map(|block| block.split("```").next().unwrap().to_owned()).collect()
}

/// A configuration with other sources: its own ones go, and so does each other table that the block
/// gives anew.
fn replaced(config: &str, block: &str) -> String {
    let given: Vec<String> = tables(block).into_iter().map(|(header, _)| header).collect();
    let kept = tables(config).into_iter();
    let kept =
        kept.filter(|(header, _)| !header.starts_with("[source.") && !given.contains(header));
    kept.map(|(_, text)| text).collect::<String>() + "\n" + block
}

/// The tables of a TOML file with their headers; what stands before the first one has an empty header.
fn tables(toml: &str) -> Vec<(String, String)> {
    let mut tables = vec![(String::new(), String::new())];
    for line in toml.lines() {
        if line.starts_with('[') {
            let header = line.split_inclusive(']').next().unwrap().to_owned();
            tables.push((header, String::new()));
        }
        let (_, text) = tables.last_mut().unwrap();
        text.push_str(line);
        text.push('\n');
    }
    tables
}
