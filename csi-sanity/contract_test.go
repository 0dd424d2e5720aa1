// Package sanity holds the checks of the driver that come from the makers of CSI: the official wire
// contract, against which ../proto is compared, and the official conformance suite.
package sanity

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/bufbuild/protocompile"
	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	registration "k8s.io/kubelet/pkg/apis/pluginregistration/v1"
)

// TestContract fails when a .proto file of ours says anything else about the wire than the official
// Go package: something missing, something added, or something changed.
func TestContract(t *testing.T) {
	for file, official := range map[string]protoreflect.FileDescriptor{
		"csi.proto":                csi.File_csi_proto,
		"pluginregistration.proto": registration.File_staging_src_k8s_io_kubelet_pkg_apis_pluginregistration_v1_api_proto,
	} {
		t.Run(file, func(t *testing.T) {
			theirs := factsOf(official)
			ours := factsOf(parse(t, file))
			for _, fact := range missingFrom(ours, theirs) {
				t.Errorf("the official contract has, proto/%s lacks: %s", file, fact)
			}
			for _, fact := range missingFrom(theirs, ours) {
				t.Errorf("proto/%s has, the official contract lacks: %s", file, fact)
			}
			t.Logf("%d facts compared", len(theirs))
		})
	}
}

func parse(t *testing.T, file string) protoreflect.FileDescriptor {
	t.Helper()
	compiler := protocompile.Compiler{
		Resolver: protocompile.WithStandardImports(&protocompile.SourceResolver{ImportPaths: []string{"../proto"}}),
	}
	files, err := compiler.Compile(context.Background(), file)
	if err != nil {
		t.Fatalf("proto/%s does not compile: %v", file, err)
	}
	return files[0]
}

// missingFrom returns what is in wanted and not in have, in the order of wanted.
func missingFrom(have, wanted []string) []string {
	known := make(map[string]bool, len(have))
	for _, fact := range have {
		known[fact] = true
	}
	return slices.DeleteFunc(slices.Clone(wanted), func(fact string) bool { return known[fact] })
}

// facts collects one line for each thing that two ends of a wire must agree on.
type facts []string

func (f *facts) add(format string, args ...any) {
	*f = append(*f, fmt.Sprintf(format, args...))
}

func factsOf(file protoreflect.FileDescriptor) []string {
	var f facts
	f.add("syntax %s", file.Syntax())
	f.add("package %s%s", file.Package(), options(file))
	for i := range file.Imports().Len() {
		f.add("import %s", file.Imports().Get(i).Path())
	}
	for i := range file.Extensions().Len() {
		f.field(file.Extensions().Get(i))
	}
	for i := range file.Services().Len() {
		f.service(file.Services().Get(i))
	}
	f.enums(file.Enums())
	f.messages(file.Messages())
	return f
}

func (f *facts) service(service protoreflect.ServiceDescriptor) {
	f.add("service %s%s", service.FullName(), options(service))
	for i := range service.Methods().Len() {
		m := service.Methods().Get(i)
		f.add("method %s(%s) -> %s, client streams: %t, server streams: %t%s", m.FullName(),
			m.Input().FullName(), m.Output().FullName(), m.IsStreamingClient(), m.IsStreamingServer(), options(m))
	}
}

func (f *facts) messages(messages protoreflect.MessageDescriptors) {
	for i := range messages.Len() {
		m := messages.Get(i)
		f.add("message %s%s", m.FullName(), options(m))
		for j := range m.ReservedRanges().Len() {
			r := m.ReservedRanges().Get(j)
			f.add("message %s reserves %d up to, not including, %d", m.FullName(), r[0], r[1])
		}
		for j := range m.ReservedNames().Len() {
			f.add("message %s reserves the name %s", m.FullName(), m.ReservedNames().Get(j))
		}
		for j := range m.Fields().Len() {
			f.field(m.Fields().Get(j))
		}
		f.enums(m.Enums())
		f.messages(m.Messages())
	}
}

func (f *facts) field(field protoreflect.FieldDescriptor) {
	kind := field.Kind().String()
	switch {
	case field.Message() != nil:
		kind += " " + string(field.Message().FullName())
	case field.Enum() != nil:
		kind += " " + string(field.Enum().FullName())
	}
	where := ""
	if oneof := field.ContainingOneof(); oneof != nil {
		where = fmt.Sprintf(" in oneof %s%s", oneof.Name(), options(oneof))
	}
	if field.IsExtension() {
		where = fmt.Sprintf(" extending %s", field.ContainingMessage().FullName())
	}
	f.add("field %s = %d: %s %s, json %s, packed: %t, map: %t, presence: %t%s%s", field.FullName(), field.Number(),
		field.Cardinality(), kind, field.JSONName(), field.IsPacked(), field.IsMap(), field.HasPresence(), where, options(field))
}

func (f *facts) enums(enums protoreflect.EnumDescriptors) {
	for i := range enums.Len() {
		e := enums.Get(i)
		f.add("enum %s%s", e.FullName(), options(e))
		for j := range e.ReservedRanges().Len() {
			r := e.ReservedRanges().Get(j)
			f.add("enum %s reserves %d up to and including %d", e.FullName(), r[0], r[1])
		}
		for j := range e.ReservedNames().Len() {
			f.add("enum %s reserves the name %s", e.FullName(), e.ReservedNames().Get(j))
		}
		for j := range e.Values().Len() {
			v := e.Values().Get(j)
			f.add("value %s.%s = %d%s", e.FullName(), v.Name(), v.Number(), options(v))
		}
	}
}

// options renders the options of a declaration, custom ones included, in a stable order. Both sides are
// brought to bytes and back first, so that it does not matter which parser made them.
func options(declaration protoreflect.Descriptor) string {
	bytes, err := proto.MarshalOptions{Deterministic: true}.Marshal(declaration.Options())
	if err != nil {
		return " with unreadable options: " + err.Error()
	}
	known := declaration.Options().ProtoReflect().New().Interface()
	if err := proto.Unmarshal(bytes, known); err != nil {
		return " with unreadable options: " + err.Error()
	}
	var set []string
	known.ProtoReflect().Range(func(option protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		set = append(set, fmt.Sprintf("%s = %v", option.FullName(), value.Interface()))
		return true
	})
	if unknown := known.ProtoReflect().GetUnknown(); len(unknown) > 0 {
		set = append(set, fmt.Sprintf("unknown %x", []byte(unknown)))
	}
	if len(set) == 0 {
		return ""
	}
	slices.Sort(set)
	return " [" + strings.Join(set, ", ") + "]"
}
