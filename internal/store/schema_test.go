package store

import (
	"crypto/sha256"
	"database/sql"
	"fmt"
	"io/fs"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"gorm.io/gorm/schema"
)

// columns lists a table's columns with their types as the migrations have made them.
func columns(t *testing.T, db *sql.DB, table string) map[string]string {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), "SELECT name, type FROM pragma_table_info(?)", table)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	out := map[string]string{}
	for rows.Next() {
		var name, typ string
		if err := rows.Scan(&name, &typ); err != nil {
			t.Fatal(err)
		}
		out[name] = typ
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return out
}

// sqlType is the type that a model's field has in a STRICT table.
func sqlType(f *schema.Field) string {
	switch {
	case f.Serializer != nil:
		return "TEXT"
	case f.DataType == schema.Int || f.DataType == schema.Uint:
		return "INTEGER"
	case f.DataType == schema.Float:
		return "REAL"
	}
	return "TEXT"
}

// TestMigrationsMatchTheModels: every field of a stored model is a column of the right type, and there is no other one.
// TestMigrationsAreNotEdited: a database that has been through one never sees what is added to it. What changes is a further migration.
func TestMigrationsAreNotEdited(t *testing.T) {
	for name, want := range map[string]string{
		"00001_init.sql":       "268458773a6da125608bf92d9d949a85d10b12d491b2ce270091b3c02fcb0dcd",
		"00002_exceptions.sql": "c8aadb4cdea6e36cad682b2b1238baf7e422b08ca242c3740ccdf7225a3cebf0",
		"00003_decisions.sql":  "36bd07c2b10001bb089a4aacb26b8acb9c41c9b1c2dd097a0c6eae9cea9cb2cb",
		"00004_blocks.sql":     "0bf5b04bbe0ef889655add39aaa0e8a02888029f2d93dfc90818c32c126578c7",
		"00005_outbox.sql":     "1daf4d223267bd9793c51bc6b0c927fe0fe89b92a85e2df5a4bec69b4b1b0c1f",
		"00006_sensors.sql":    "f835148be8fa7b8950aae2e7ba8639f8b5e8c69fa27a9248362a93dad3b3d126",
		"00007_origins.sql":    "296a67d2bc46bf28d8c7088151ca9853d7a949c2d9dbdc86c3e6c3a6506f4813",
	} {
		text, err := fs.ReadFile(embedded(), name)
		must(t, err)
		if got := fmt.Sprintf("%x", sha256.Sum256(text)); got != want {
			t.Errorf("%s has the SHA-256 %s, want %s: undo the change, and write another migration", name, got, want)
		}
	}
}

func TestMigrationsMatchTheModels(t *testing.T) {
	s := open(t, Options{})
	for _, tab := range []table{s.tables.alerts, s.tables.connections, s.tables.hosts, s.tables.series, s.tables.exceptions} {
		t.Run(tab.name, func(t *testing.T) {
			want := map[string]string{}
			for _, f := range tab.fields {
				want[f.DBName] = sqlType(f)
			}
			if diff := cmp.Diff(want, columns(t, s.write, tab.name)); diff != "" {
				t.Errorf("columns (-model +migrations):\n%s", diff)
			}
		})
	}
}

// TestKeptColumnsExist: a merge rule that names a column which is not there would protect nothing.
func TestKeptColumnsExist(t *testing.T) {
	s := open(t, Options{})
	for _, tt := range []struct {
		tab  table
		kept []string
	}{
		{s.tables.alerts, []string{"decided", "decided_at", "decided_by", "inserted_at"}},
		{s.tables.connections, []string{"src_ip", "dst_ip", "first_ts", "inserted_at", "community_id"}},
		{s.tables.hosts, []string{"inserted_at"}},
	} {
		cols := columns(t, s.write, tt.tab.name)
		_, set, _ := strings.Cut(tt.tab.upsert, "DO UPDATE SET")
		for _, k := range tt.kept {
			if cols[k] == "" {
				t.Errorf("%s has no column %s", tt.tab.name, k)
			}
			if strings.Contains(set, quote(k)) {
				t.Errorf("%s sets %s again: %s", tt.tab.name, k, tt.tab.upsert)
			}
		}
	}
	if strings.Contains(s.tables.connections.upsert, "WHERE") {
		t.Error("connections are merged under a condition")
	}
}

// TestIndexedColumnsOfConnectionsNeverChange: an index on a column that every flush sets doubles the flush's cost.
func TestIndexedColumnsOfConnectionsNeverChange(t *testing.T) {
	s := open(t, Options{})
	rows, err := s.write.QueryContext(t.Context(), `SELECT DISTINCT ii.name FROM pragma_index_list('connections') il
		JOIN pragma_index_info(il.name) ii WHERE ii.name <> 'id'`)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	_, set, _ := strings.Cut(s.tables.connections.upsert, "DO UPDATE SET")
	n := 0
	for ; rows.Next(); n++ {
		var col string
		if err := rows.Scan(&col); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(set, quote(col)+" =") {
			t.Errorf("%s is indexed and set by every flush", col)
		}
	}
	if err := rows.Err(); err != nil || n == 0 {
		t.Fatalf("%d indexed columns, %v", n, err)
	}
}

// TestPragmas: what durability and retention rest on is really set.
func TestPragmas(t *testing.T) {
	s := open(t, Options{})
	for _, tt := range []struct {
		db           *sql.DB
		pragma, want string
	}{
		{s.write, "journal_mode", "wal"},
		{s.write, "synchronous", "2"},
		{s.write, "auto_vacuum", "2"},
		{s.write, "busy_timeout", "1000"},
		{s.write, "cache_size", "-8192"},
		{s.write, "temp_store", "2"},
		{s.readers.Load().db, "query_only", "1"},
	} {
		var got string
		if err := tt.db.QueryRowContext(t.Context(), "PRAGMA "+tt.pragma).Scan(&got); err != nil {
			t.Fatal(err)
		}
		if got != tt.want {
			t.Errorf("%s is %s, want %s", tt.pragma, got, tt.want)
		}
	}
	if _, err := s.readers.Load().db.ExecContext(t.Context(), "DELETE FROM alerts"); err == nil {
		t.Error("a reader could write")
	}
}
