package fault

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
)

// Failing says which statements a server is to refuse.
type Failing struct {
	// Table is the one whose changes fail, with its schema.
	Table string
	// Late lets the statement pass and the commit fail.
	Late bool
	// Share is how many of the changes fail: 1 all of them, 0.5 every other, by chance.
	Share float64
	// Code is the SQLSTATE that is answered; "" is P0001, which no server says by itself.
	Code string
}

// Failure is what FailStatements put into a server.
type Failure struct {
	p               *Postgres
	db, name, table string
}

// FailStatements makes changes of a table fail in the middle of whatever is under way, until Heal: a trigger raises an
// error.
func (p *Postgres) FailStatements(t testing.TB, db string, f Failing) *Failure {
	t.Helper()
	if f.Code == "" {
		f.Code = "P0001"
	}
	x := &Failure{p: p, db: db, name: "fault_" + strconv.FormatInt(p.next.Add(1), 10), table: pgx.Identifier(strings.Split(f.Table, ".")).Sanitize()}
	kind, when := "TRIGGER", ""
	if f.Late {
		kind, when = "CONSTRAINT TRIGGER", "DEFERRABLE INITIALLY DEFERRED"
	}
	p.ExecIn(t, db,
		"CREATE SEQUENCE public."+x.name, // a number that was drawn stays drawn when its transaction fails
		fmt.Sprintf(`CREATE FUNCTION public.%[1]s() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
			BEGIN
				IF random() < %[2]g THEN
					PERFORM nextval('public.%[1]s');
					RAISE EXCEPTION 'a statement fails on purpose' USING ERRCODE = '%[3]s';
				END IF;
				RETURN NULL;
			END $$`, x.name, f.Share, f.Code),
		fmt.Sprintf("CREATE %s %s AFTER INSERT OR UPDATE OR DELETE ON %s %s FOR EACH ROW EXECUTE FUNCTION public.%[2]s()", kind, x.name, x.table, when),
	)
	return x
}

// Count is how many changes failed so far.
func (x *Failure) Count(t testing.TB) int {
	t.Helper()
	n, err := strconv.Atoi(x.p.Value(t, x.db, "SELECT CASE WHEN is_called THEN last_value ELSE 0 END::text FROM public."+x.name))
	if err != nil {
		t.Fatalf("fault: postgres: %v", err)
	}
	return n
}

// Heal lets all changes pass again.
func (x *Failure) Heal(t testing.TB) {
	t.Helper()
	x.p.ExecIn(t, x.db, fmt.Sprintf("DROP TRIGGER %s ON %s", x.name, x.table), "DROP FUNCTION public."+x.name+"()", "DROP SEQUENCE public."+x.name)
}
