// A filter in JavaScript, written straight against wit/: keeps the events whose payload has one of
// some values in a field. `decide` is all there is to it; the rest turns columns into calls, and is
// the same for every filter.
//
// What to know about this engine: the world's interfaces are default imports with their version; an
// option that is none arrives as null; u64 is a number; there is no console, no fetch and no
// TextEncoder.
import log from "trommel:plugin/log@0.1.0";

let config = { field: "", values: [] };

function decide(event) {
  return event.data !== null && config.values.includes(event.data[config.field]);
}

export const lifecycle = {
  describe() {
    return {
      name: "js-filter",
      version: "0.1.0",
      configSchema: JSON.stringify({
        type: "object",
        additionalProperties: false,
        required: ["field", "values"],
        properties: { field: { type: "string" }, values: { type: "array" } },
      }),
    };
  },

  // An error for the host is thrown as the value itself; `new Error` would be a trap.
  configure(text) {
    const given = JSON.parse(text);
    if (typeof given.field !== "string" || !Array.isArray(given.values)) {
      throw 'give "field", a name, and "values", a list';
    }
    config = given;
    return { types: [], fields: { data: true } };
  },
};

export const filter = {
  keep(batch) {
    const { values, index } = batch.types;
    // Each line has its newline, so what is left behind the last one is no line.
    const lines = batch.data.text.split("\n");
    const keep = new Uint8Array(index.length);
    const faults = [];
    for (let i = 0; i < index.length; i++) {
      try {
        const data = lines[i] === "" ? null : JSON.parse(lines[i]);
        keep[i] = decide({ type: values[index[i]], data }) ? 1 : 0;
      } catch (error) {
        // The stack lacks the message, so both are told.
        log.write("debug", `${error.message}\n${error.stack}`);
        faults.push({ index: i, reason: String(error.message) });
      }
    }
    return { keep, faults };
  },
};
