package delta

import (
	"fmt"
	"os"
	"testing"
	"time"

	"kmend/internal/object"
)

func TestDev(t *testing.T) {
	files := os.Getenv("DEV_FILES")
	if files == "" {
		t.Skip()
	}
	var b, a string
	fmt.Sscan(files, &b, &a)
	load := func(p string) *Unit {
		d, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		f, err := object.Read(d)
		if err != nil {
			t.Fatal(err)
		}
		u, err := NewUnit(f)
		if err != nil {
			t.Fatal(err)
		}
		return u
	}
	t0 := time.Now()
	r := Compare(load(b), load(a))
	fmt.Println("items", len(r.Before.Items), len(r.After.Items), time.Since(t0))
	for _, c := range r.Changed {
		fmt.Printf("changed %s %s+%#x: %s\n", c.After.Name, c.Where.Name, c.Offset, c.What)
	}
	for _, n := range r.New {
		fmt.Println("new", n.Name)
	}
	for _, n := range r.Removed {
		fmt.Println("removed", n.Name)
	}
	for _, n := range r.NewData {
		fmt.Println("newdata", n.Name, n.Section.Name)
	}
	for _, p := range r.Problems {
		fmt.Println("PROBLEM", p)
	}
	for i, p := range r.Ambiguous {
		fmt.Println("AMBIG", i.Name, p)
	}
}
