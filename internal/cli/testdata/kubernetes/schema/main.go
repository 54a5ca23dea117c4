// Command schema writes a JSON schema of those kinds of Kubernetes that packaging/kubernetes
// uses, made from the types of k8s.io/api (Apache License 2.0): a field that they do not
// have is refused, and so is a missing one that they need. It is a module of its own, so
// that mbk does not depend on these types. Run in this folder:
//
//	go run . >../kubernetes.schema.json
package main

import (
	"encoding/json"
	"log"
	"os"
	"reflect"
	"strings"

	apps "k8s.io/api/apps/v1"
	batch "k8s.io/api/batch/v1"
	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

type object = map[string]any

// scalars are the types that have a form of their own as JSON.
var scalars = map[reflect.Type]any{
	reflect.TypeFor[resource.Quantity]():  []string{"string", "number"},
	reflect.TypeFor[intstr.IntOrString](): []string{"string", "integer"},
	reflect.TypeFor[meta.Time]():          "string",
	reflect.TypeFor[meta.Duration]():      "string",
	reflect.TypeFor[meta.FieldsV1]():      "object",
}

type schema struct{ definitions object }

func (s schema) of(t reflect.Type) object {
	if kind, ok := scalars[t]; ok {
		return object{"type": kind}
	}
	switch t.Kind() {
	case reflect.Pointer:
		return s.of(t.Elem())
	case reflect.Bool:
		return object{"type": "boolean"}
	case reflect.String:
		return object{"type": "string"}
	case reflect.Int32, reflect.Int64:
		return object{"type": "integer"}
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			return object{"type": "string"}
		}
		return object{"type": "array", "items": s.of(t.Elem())}
	case reflect.Map:
		return object{"type": "object", "additionalProperties": s.of(t.Elem())}
	case reflect.Struct:
		if _, known := s.definitions[t.Name()]; !known {
			s.definitions[t.Name()] = nil // it may contain itself
			properties, required := object{}, []string{}
			s.fields(t, properties, &required)
			s.definitions[t.Name()] = object{
				"type": "object", "additionalProperties": false, "properties": properties, "required": required,
			}
		}
		return object{"$ref": "#/definitions/" + t.Name()}
	}
	log.Fatalf("%s: what is this as JSON?", t)
	return nil
}

// fields adds the fields of a struct, and of those that are a part of it.
func (s schema) fields(t reflect.Type, properties object, required *[]string) {
	for f := range t.Fields() {
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case name == "" && f.Anonymous:
			s.fields(f.Type, properties, required)
		case name == "-" || name == "" || name == "status":
		default:
			properties[name] = s.of(f.Type)
			if !strings.Contains(options, "omitempty") && !strings.Contains(options, "omitzero") {
				*required = append(*required, name)
			}
		}
	}
}

func main() {
	s := schema{definitions: object{}}
	var kinds []any
	for _, kind := range []any{
		core.ConfigMap{}, core.Secret{}, core.Service{}, apps.StatefulSet{}, apps.Deployment{}, batch.Job{}, batch.CronJob{},
	} {
		t := reflect.TypeOf(kind)
		group := strings.TrimPrefix(strings.TrimPrefix(t.PkgPath(), "k8s.io/api/"), "core/")
		kinds = append(kinds, object{
			"if":   object{"properties": object{"kind": object{"const": t.Name()}}},
			"then": object{"allOf": []any{s.of(t), object{"properties": object{"apiVersion": object{"const": group}}}}},
		})
	}
	all := object{
		"$comment":    "made by testdata/schema from the types of k8s.io/api, which have the Apache License 2.0",
		"allOf":       kinds,
		"definitions": s.definitions,
		"required":    []string{"apiVersion", "kind", "metadata"},
	}
	names := []string{}
	for _, k := range kinds {
		names = append(names, k.(object)["if"].(object)["properties"].(object)["kind"].(object)["const"].(string))
	}
	all["properties"] = object{"kind": object{"enum": names}}
	out := json.NewEncoder(os.Stdout)
	if err := out.Encode(all); err != nil {
		log.Fatal(err)
	}
}
