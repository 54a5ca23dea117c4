package boot

import "testing"

func TestPresent(t *testing.T) {
	first, err := Present()
	if err != nil {
		t.Fatal(err)
	}
	if again, err := Present(); err != nil || again != first || first == (ID{}) {
		t.Errorf("a second reading gives %x, %v; the first gave %x", again, err, first)
	}
}

func TestParse(t *testing.T) {
	id, err := parse("00010203-0405-0607-0809-0a0b0c0d0e0f\n")
	if want := (ID{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}); err != nil || id != want {
		t.Errorf("%x, %v; want %x", id, err, want)
	}
	for _, text := range []string{"", "0001", "00010203-0405-0607-0809-0a0b0c0d0e0g"} {
		if id, err := parse(text); err == nil {
			t.Errorf("%q is taken for the id %x", text, id)
		}
	}
}
