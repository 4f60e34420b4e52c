# The steps that continuous integration runs, and those a person runs. One profile for all of them, so
# that wasmtime is built once.

CARGO := cargo
TROMMEL := target/release/trommel

.PHONY: build plugins python crash demo test check bench clean-guests

# The program: target/release/trommel
build:
	@echo "building trommel (the first time takes about ten minutes on two cores)" >&2
	$(CARGO) build --locked --release

# The bundled plugins, and those that tests need: target/plugins/*.wasm
plugins:
	tools/build-plugins

# Python with what tests compare against: target/python
python:
	tools/python-env

# The library that tests load before the C library: target/crash
crash:
	tools/build-crash

# A simulated Central, the bundled plugins, an alert and a reload, to look at; DEMO_SECONDS=30
demo: build plugins
	@tools/demo

test: build plugins python crash
	$(CARGO) test --locked --release
	tools/test-plugins
	tools/build-crash --test
	tools/instructions

# Format, lints and documentation, warnings denied
check:
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --release --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --release --no-deps
	tools/check-plugins
	tools/build-crash --check

# Figures, beside those of the vendor's client: target/bench/table.txt
bench: build plugins python
	tools/bench
