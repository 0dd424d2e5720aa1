package sanity

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/onsi/ginkgo/v2/types"
	"go.yaml.in/yaml/v3"
)

// The list is part of the compiled test, so that one file is all a guest needs.
//
//go:embed skips.yaml
var skipsYAML []byte

// allowance is one entry of skips.yaml: specs that may be skipped.
type allowance struct {
	Specs   string   `yaml:"specs"`   // a full name, or a beginning of one followed by *
	Says    string   `yaml:"says"`    // the reason that the suite gives
	Because string   `yaml:"because"` // why it is right
	In      []string `yaml:"in"`      // the cases in which it is right; empty for all
}

func (a allowance) covers(spec skippedSpec) bool {
	if a.Says != spec.says {
		return false
	}
	if beginning, ok := strings.CutSuffix(a.Specs, "*"); ok {
		return strings.HasPrefix(spec.name, beginning)
	}
	return a.Specs == spec.name
}

// skippedSpec is a spec that did not run.
type skippedSpec struct{ name, says string }

// allowedIn leaves those that count in a case.
func allowedIn(name string, all []allowance) []allowance {
	return slices.DeleteFunc(slices.Clone(all), func(a allowance) bool { return len(a.In) > 0 && !slices.Contains(a.In, name) })
}

// allowances reads a list in the form of skips.yaml. An entry that lacks a part is an error: a skip
// without a reason is what the list is there to prevent.
func allowances(list []byte) ([]allowance, error) {
	decoder := yaml.NewDecoder(bytes.NewReader(list))
	decoder.KnownFields(true)
	var all []allowance
	if err := decoder.Decode(&all); err != nil {
		return nil, fmt.Errorf("skips.yaml: %w", err)
	}
	var wrong []error
	for i, a := range all {
		if a.Specs == "" || a.Says == "" || a.Because == "" {
			wrong = append(wrong, fmt.Errorf("skips.yaml: entry %d needs specs, says and because", i+1))
		}
	}
	return all, errors.Join(wrong...)
}

// tally is what a finished run amounts to.
type tally struct {
	passed, failed int
	skipped        []skippedSpec
}

func tallyOf(report types.Report) tally {
	var t tally
	for _, spec := range report.SpecReports {
		if !spec.LeafNodeType.Is(types.NodeTypeIt) {
			continue
		}
		switch {
		case spec.State.Is(types.SpecStatePassed):
			t.passed++
		case spec.State.Is(types.SpecStatePending):
			t.skipped = append(t.skipped, skippedSpec{spec.FullText(), "pending"})
		case spec.State.Is(types.SpecStateSkipped):
			t.skipped = append(t.skipped, skippedSpec{spec.FullText(), spec.Failure.Message})
		default:
			t.failed++
		}
	}
	return t
}

// judge returns the skips that no allowance covers and the allowances that covered nothing.
func judge(skipped []skippedSpec, allowed []allowance) (unlisted []skippedSpec, unused []allowance) {
	used := make([]bool, len(allowed))
	for _, spec := range skipped {
		covered := false
		for i, a := range allowed {
			if a.covers(spec) {
				used[i], covered = true, true
			}
		}
		if !covered {
			unlisted = append(unlisted, spec)
		}
	}
	for i, a := range allowed {
		if !used[i] {
			unused = append(unused, a)
		}
	}
	return unlisted, unused
}

func TestSomeAllowancesAreForOneCase(t *testing.T) {
	all := []allowance{{Specs: "everywhere"}, {Specs: "there", In: []string{"tmpfs-memory"}}}
	if got := allowedIn("tmpfs-memory", all); len(got) != 2 {
		t.Errorf("there: %v", got)
	}
	if got := allowedIn("xfs-thin", all); len(got) != 1 || got[0].Specs != "everywhere" {
		t.Errorf("elsewhere: %v", got)
	}
}

func TestSkipsListIsComplete(t *testing.T) {
	if _, err := allowances(skipsYAML); err != nil {
		t.Fatal(err)
	}
	if _, err := allowances([]byte("- specs: a *\n  says: no\n")); err == nil {
		t.Error("an entry without a reason was accepted")
	}
}

func TestJudgeSkips(t *testing.T) {
	allowed := []allowance{{Specs: "Attach *", Says: "no attach"}, {Specs: "Modify one", Says: "no modify"}}
	unlisted, unused := judge([]skippedSpec{
		{"Attach works", "no attach"},
		{"Attach fails", "out of space"},
		{"Modify one two", "no modify"},
	}, allowed)
	if len(unlisted) != 2 || unlisted[0].name != "Attach fails" || unlisted[1].name != "Modify one two" {
		t.Errorf("unlisted: %v", unlisted)
	}
	if len(unused) != 1 || unused[0].Specs != "Modify one" {
		t.Errorf("unused: %v", unused)
	}
}
