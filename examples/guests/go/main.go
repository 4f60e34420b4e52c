// Command go-transform is a transform in Go, written straight against wit/: it masks the values of
// some members of each payload. apply is all there is to it; the rest turns columns into calls, and
// is the same for every transform.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"trommel.example/go-transform/bind/exports/export_trommel_plugin_lifecycle"
	"trommel.example/go-transform/bind/exports/export_trommel_plugin_transform"
	_ "trommel.example/go-transform/bind/exports/wit_exports"
	"trommel.example/go-transform/bind/imports/trommel_plugin_lifecycle"
	"trommel.example/go-transform/bind/imports/trommel_plugin_log"
	"trommel.example/go-transform/bind/imports/trommel_plugin_transform"
	"trommel.example/go-transform/bind/imports/trommel_plugin_types"
	"trommel.example/go-transform/wit/types"
)

const schema = `{"type":"object","additionalProperties":false,"required":["mask"],` +
	`"properties":{"mask":{"type":"array","items":{"type":"string"}}}}`

var config struct {
	Mask []string `json:"mask"`
}

// apply gives the new payload, or the same one if there is nothing to change.
func apply(data string) (string, error) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal([]byte(data), &members); err != nil {
		return "", errors.New("the payload is not an object")
	}
	changed := false
	for _, name := range config.Mask {
		if _, found := members[name]; found {
			members[name] = json.RawMessage(`"***"`)
			changed = true
		}
	}
	if !changed {
		return data, nil
	}
	text, err := json.Marshal(members)
	return string(text), err
}

// guarded turns a panic of one event into its fault: a trap would cost the instance, and the search
// for the event.
func guarded(data string) (out string, err error) {
	defer func() {
		if problem := recover(); problem != nil {
			trommel_plugin_log.Write(trommel_plugin_log.Level_Error, fmt.Sprint(problem))
			err = fmt.Errorf("panic: %v", problem)
		}
	}()
	return apply(data)
}

func applyAll(batch trommel_plugin_types.Batch) trommel_plugin_transform.Outcomes {
	lines := batch.Data.SomeOr(trommel_plugin_types.Lines{})
	fates := make([]int32, len(lines.Ends))
	var faults []trommel_plugin_types.Fault
	var out strings.Builder
	start := uint32(0)
	for i, end := range lines.Ends {
		data := lines.Text[start:end]
		start = end + 1
		fates[i] = -1
		if data == "" {
			continue
		}
		changed, err := guarded(data)
		switch {
		case err != nil:
			fates[i] = 0
			faults = append(faults, trommel_plugin_types.Fault{Index: uint32(i), Reason: err.Error()})
		case changed != data:
			fates[i] = 1
			out.WriteString(changed)
			out.WriteByte('\n')
		}
	}
	return trommel_plugin_transform.Outcomes{Fates: fates, Data: out.String(), Faults: faults}
}

func configure(text string) types.Result[trommel_plugin_lifecycle.Wants, string] {
	type wants = trommel_plugin_lifecycle.Wants
	// Arguments live no longer than their call, and so do the strings that are cut from them; these
	// are copies.
	if err := json.Unmarshal([]byte(text), &config); err != nil {
		return types.Err[wants, string](err.Error())
	}
	return types.Ok[wants, string](wants{Fields: trommel_plugin_types.Fields_Data})
}

func init() {
	export_trommel_plugin_lifecycle.DescribeFn = func() trommel_plugin_lifecycle.Description {
		return trommel_plugin_lifecycle.Description{
			Name: "go-transform", Version: "0.1.0", ConfigSchema: schema,
		}
	}
	export_trommel_plugin_lifecycle.ConfigureFn = configure
	export_trommel_plugin_transform.ApplyFn = applyAll
}

func main() {}
