// Says what of our YAML would be refused when it is applied, without a cluster: each object is decoded as the API server
// does for kubectl, then given its defaults and validated as by Tekton's webhook, with the flags that Tekton is installed with.
//
// Texts by name come in as a JSON object; out goes one with the problems of each. go.mod pins the newest version of
// Tekton and another .mod file an older one. To go to a version, or to add a file for one:
//
//	go mod edit -require=github.com/tektoncd/pipeline@v1.15.0 go.mod && go mod tidy -modfile=go.mod
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	v1 "github.com/tektoncd/pipeline/pkg/apis/pipeline/v1"
	"github.com/tektoncd/pipeline/pkg/apis/pipeline/v1beta1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	serializer "k8s.io/apimachinery/pkg/runtime/serializer/json"
	"k8s.io/apimachinery/pkg/util/yaml"
	"knative.dev/pkg/apis"
)

func strictDecoder() runtime.Decoder {
	scheme := runtime.NewScheme()
	scheme.AddKnownTypes(v1.SchemeGroupVersion, &v1.Task{}, &v1.Pipeline{}, &v1.TaskRun{}, &v1.PipelineRun{})
	scheme.AddKnownTypes(v1beta1.SchemeGroupVersion, &v1beta1.StepAction{})
	scheme.AddKnownTypes(corev1.SchemeGroupVersion, &corev1.ServiceAccount{})
	options := serializer.SerializerOptions{Yaml: true, Strict: true}
	return serializer.NewSerializerWithOptions(serializer.DefaultMetaFactory, scheme, scheme, options)
}

// name gives an object that has none the one that the API server would make of generateName.
func name(object metav1.Object) {
	if base := object.GetGenerateName(); object.GetName() == "" && base != "" {
		object.SetName(base[:min(len(base), 58)] + "xxxxx")
	}
}

func admit(object runtime.Object) error {
	ctx := apis.WithinCreate(context.Background())
	if defaultable, ok := object.(apis.Defaultable); ok {
		defaultable.SetDefaults(ctx)
	}
	if validatable, ok := object.(apis.Validatable); ok {
		if err := validatable.Validate(ctx); err != nil {
			return err
		}
	}
	return nil
}

func check(decoder runtime.Decoder, document []byte) error {
	decoded, kind, err := decoder.Decode(document, nil, nil)
	if runtime.IsNotRegisteredError(err) {
		return fmt.Errorf("%s of %s is no kind that is known here", kind.Kind, kind.GroupVersion())
	}
	if decoded == nil {
		return err
	}
	object := decoded.(metav1.Object)
	name(object)
	if err == nil {
		err = admit(decoded)
	}
	if err != nil {
		return fmt.Errorf("%s %s: %w", kind.Kind, object.GetName(), err)
	}
	return nil
}

func problems(decoder runtime.Decoder, text string) []string {
	found := []string{}
	documents := yaml.NewYAMLReader(bufio.NewReader(strings.NewReader(text)))
	for count := 0; ; count++ {
		document, err := documents.Read()
		if errors.Is(err, io.EOF) {
			if count == 0 {
				found = append(found, "no object")
			}
			return found
		}
		if err == nil {
			err = check(decoder, document)
		}
		if err != nil {
			found = append(found, err.Error())
		}
	}
}

func main() {
	var texts map[string]string
	if err := json.NewDecoder(os.Stdin).Decode(&texts); err != nil {
		panic(err)
	}
	found, decoder := map[string][]string{}, strictDecoder()
	for name, text := range texts {
		found[name] = problems(decoder, text)
	}
	if err := json.NewEncoder(os.Stdout).Encode(found); err != nil {
		panic(err)
	}
}
