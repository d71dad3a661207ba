package taskhttp

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/docusnap/asyncvfs/tasks"
	"github.com/stretchr/testify/require"
)

// openAPIDocument is what the tests need of it.
type openAPIDocument struct {
	Paths map[string]map[string]struct {
		Parameters []struct {
			Name, In string
		}
		Security  []map[string][]string
		Responses map[string]any
	}
	Components struct {
		Schemas map[string]struct {
			Type       string
			Properties map[string]struct {
				Type string
				Ref  string `json:"$ref"`
			}
			Required []string
		}
	}
}

func readOpenAPI(t *testing.T) (d openAPIDocument) {
	t.Helper()
	require.NoError(t, json.Unmarshal(OpenAPI(), &d))
	return d
}

// TestOpenAPIEndpoints: the document has the handler's endpoints, their parameters and who may call them, and no others.
func TestOpenAPIEndpoints(t *testing.T) {
	d := readOpenAPI(t)
	left := map[string]bool{}
	for path, methods := range d.Paths {
		for method := range methods {
			left[strings.ToUpper(method)+" "+path] = true
		}
	}
	for _, e := range endpoints {
		name := e.method + " " + e.path
		require.True(t, left[name], "%s isn't in the document", name)
		delete(left, name)
		o := d.Paths[e.path][strings.ToLower(e.method)]
		var query []string
		for _, p := range o.Parameters {
			if p.In == "query" {
				query = append(query, p.Name)
			}
		}
		require.ElementsMatch(t, e.query, query, name)
		require.Equal(t, e.right > 0, len(o.Security) > 0, name)
		if e.right > 0 {
			require.Contains(t, o.Responses, "401", name)
			require.Contains(t, o.Responses, "403", name)
		}
	}
	require.Empty(t, left)
}

// TestOpenAPISchemas: the document's objects have the fields that the handler's have, of the same types,
// and those are required that are never left out.
func TestOpenAPISchemas(t *testing.T) {
	d := readOpenAPI(t)
	for name, v := range map[string]any{
		"Task": Task{}, "Progress": Progress{}, "Attempt": Attempt{}, "NewTask": NewTask{}, "Page": Page{}, "Problem": Problem{},
		"Stats": Stats{}, "Rates": Rates{}, "Times": Times{}, "Oldest": Oldest{}, "Failure": Failure{}, "Held": Held{},
	} {
		schema := d.Components.Schemas[name]
		var names, required []string
		for f := range reflect.TypeOf(v).Fields() {
			tag, opts, _ := strings.Cut(f.Tag.Get("json"), ",")
			if tag == "" {
				continue
			}
			names = append(names, tag)
			if !strings.HasPrefix(opts, "omit") {
				required = append(required, tag)
			}
			if p := schema.Properties[tag]; p.Ref == "" && f.Type != reflect.TypeFor[json.RawMessage]() {
				require.Equal(t, jsonType(f.Type), p.Type, "%s.%s", name, tag)
			}
		}
		slices.Sort(names)
		var documented []string
		for tag := range schema.Properties {
			documented = append(documented, tag)
		}
		require.ElementsMatch(t, names, documented, name)
		require.ElementsMatch(t, required, schema.Required, name)
	}
}

// jsonType is the type that a Go type has in JSON.
func jsonType(t reflect.Type) string {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch t {
	case reflect.TypeFor[time.Time](), reflect.TypeFor[Duration]():
		return "string"
	case reflect.TypeFor[tasks.Labels]():
		return "object"
	}
	switch t.Kind() {
	case reflect.String:
		return "string"
	case reflect.Bool:
		return "boolean"
	case reflect.Int, reflect.Int64:
		return "integer"
	case reflect.Float64:
		return "number"
	case reflect.Slice:
		return "array"
	}
	return "object"
}
