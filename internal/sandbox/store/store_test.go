package store

import (
	"errors"
	"path/filepath"
	"testing"
)

type row struct{ Name string }

func TestTableSurvivesReopening(t *testing.T) {
	path := filepath.Join(t.TempDir(), "region.db")
	db, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	var rows *Table[row]
	if err := OpenTable(db, "test.rows", &rows); err != nil {
		t.Fatal(err)
	}
	for _, k := range []string{"b", "a", "gone"} {
		if err := rows.Put(k, row{k}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := rows.Update("b", func(r *row) error { r.Name = "B"; return nil }); err != nil {
		t.Fatal(err)
	}
	if err := rows.Delete("gone"); err != nil {
		t.Fatal(err)
	}
	if ok, _ := rows.Insert("a", row{"second"}); ok {
		t.Error("Insert replaced an existing row")
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}

	db, err = Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := OpenTable(db, "test.rows", &rows); err != nil {
		t.Fatal(err)
	}
	if got := rows.All(); len(got) != 2 || got[0].Name != "a" || got[1].Name != "B" {
		t.Errorf("after reopening: %v, want a and B", got)
	}
}

func TestUpdateOfFailingFunctionChangesNothing(t *testing.T) {
	var rows *Table[row]
	if err := OpenTable(Memory(), "test.rows", &rows); err != nil {
		t.Fatal(err)
	}
	if _, err := rows.Update("x", func(*row) error { return nil }); !errors.Is(err, ErrNotFound) {
		t.Errorf("Update of a missing key: %v, want ErrNotFound", err)
	}
	_ = rows.Put("x", row{"old"})
	refused := errors.New("refused")
	if _, err := rows.Update("x", func(r *row) error { r.Name = "new"; return refused }); !errors.Is(err, refused) {
		t.Errorf("Update: %v, want the function's error", err)
	}
	if got, _ := rows.Get("x"); got.Name != "old" {
		t.Errorf("row is %q, want it unchanged", got.Name)
	}
}
