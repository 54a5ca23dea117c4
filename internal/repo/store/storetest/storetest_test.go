package storetest

import (
	"context"
	"errors"
	"io"
	"reflect"
	"testing"

	"mbk/internal/repo/store"
)

func TestMem(t *testing.T) {
	Run(t, func(*testing.T) store.Store { return NewMem() })
}

// A wrapper that never fires must not be noticed.
func TestFailingIsAStore(t *testing.T) {
	Run(t, func(*testing.T) store.Store { return FailAt(NewMem(), 1<<40) })
}

func TestFailAt(t *testing.T) {
	scenario := func(ctx context.Context, st store.Store) error {
		if err := store.PutBytes(ctx, st, "a", []byte("four")); err != nil {
			return err
		}
		if _, err := store.ReadAll(ctx, st, "a", 10); err != nil {
			return err
		}
		if _, err := st.List(ctx, ""); err != nil {
			return err
		}
		return st.Delete(ctx, "a")
	}
	// What is left after the failure of each point: four of Put, two of
	// reading, one of List, two of Delete.
	want := []string{"none", "none", "none", "whole", "whole", "whole", "whole", "whole", "none"}
	n := 0
	for ; ; n++ {
		mem := NewMem()
		st := FailAt(mem, n)
		err := scenario(t.Context(), st)
		if !st.Fired() {
			if err != nil {
				t.Fatalf("not fired, yet %v", err)
			}
			break
		}
		if !errors.Is(err, ErrInjected) {
			t.Errorf("point %d: error %v, want ErrInjected", n, err)
		}
		got := "none"
		if b, err := store.ReadAll(t.Context(), mem, "a", 10); err == nil {
			got = "whole"
			if string(b) != "four" {
				got = "damaged"
			}
		}
		if n < len(want) && got != want[n] {
			t.Errorf("point %d: object is %s, want %s", n, got, want[n])
		}
		if _, err := st.List(t.Context(), ""); err != nil {
			t.Errorf("point %d: the next operation fails too: %v", n, err)
		}
	}
	if n != len(want) {
		t.Errorf("the scenario has %d points, want %d", n, len(want))
	}
}

// Whatever a store is asked for can fail, also what a later version of the interface adds.
func TestEveryMethodCanFail(t *testing.T) {
	methods := reflect.TypeFor[store.Store]()
	for i := range methods.NumMethod() {
		m := methods.Method(i)
		if m.Name == "String" || m.Name == "Dir" || m.Name == "RetainFor" {
			continue // returns no error
		}
		args := []reflect.Value{reflect.ValueOf(t.Context())}
		for i := 1; i < m.Type.NumIn(); i++ {
			args = append(args, reflect.Zero(m.Type.In(i)))
		}
		results := reflect.ValueOf(FailAt(NewMem(), 0)).MethodByName(m.Name).Call(args)
		if err, _ := results[len(results)-1].Interface().(error); !errors.Is(err, ErrInjected) {
			t.Errorf("%s = %v, want ErrInjected", m.Name, err)
		}
	}
}

func TestFailFrom(t *testing.T) {
	st := FailFrom(NewMem(), 4)
	if err := store.PutBytes(t.Context(), st, "a", []byte("x")); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if _, err := st.List(t.Context(), ""); !errors.Is(err, ErrInjected) {
			t.Errorf("List = %v, want ErrInjected", err)
		}
	}
}

// A callback that ignores a failed write must not get its half object.
func TestFailingWriteOverlooked(t *testing.T) {
	mem := NewMem()
	err := FailAt(mem, 1).Put(t.Context(), "a", func(w io.Writer) error {
		_, _ = w.Write([]byte("12345678")) // this is the mistake
		return nil
	})
	if !errors.Is(err, ErrInjected) {
		t.Errorf("Put = %v, want ErrInjected", err)
	}
	wantNotExist(t, mem, "a")
}

func TestFlip(t *testing.T) {
	mem := NewMem()
	put(t, mem, "a", "abc")
	for _, c := range []struct {
		offset int64
		want   string
	}{{0, "`bc"}, {-1, "`bb"}, {0, "abb"}} {
		if err := Flip(t.Context(), mem, "a", c.offset, 1); err != nil {
			t.Fatal(err)
		}
		if got := get(t, mem, "a", 0, -1); got != c.want {
			t.Errorf("after Flip(%d): %q, want %q", c.offset, got, c.want)
		}
	}
	if err := Flip(t.Context(), mem, "a", 3, 1); err == nil {
		t.Error("Flip past the end succeeded")
	}
}
