package transfer

// Kind says how a column is to be taken.
type Kind uint8

// The kinds, and the Go types of their values in a [Row].
const (
	Text   Kind = iota + 1 // string
	Number                 // int64: a number of the log, a version, a count
	Flag                   // int64: 0 or 1
	Time                   // int64: microseconds since 1970 UTC; 0 is no time
	Span                   // int64: microseconds
	Bytes                  // []byte; nil is absent, which empty is not
	List                   // string: texts as a JSON array, as encoding/json writes it; an empty one is []
	Object                 // string: texts by name as a JSON object, as encoding/json writes it; an empty one is {}
)

// Column is one field of a table's rows.
type Column struct {
	Name string
	Kind Kind
}

// Table describes rows of one kind. The first Keys columns name a row.
type Table struct {
	Name    string
	Keys    int
	Columns []Column
}

// KeyOf is the part of a row that names it.
func (t Table) KeyOf(r Row) Row { return r[:t.Keys] }

// Names of tables that are more than rows to a move.
const (
	TableLog      = "log" // one row: where the log stands, and what all processes have agreed on
	TableEvents   = "events"
	TableSessions = "sessions"
	TableData     = "data" // values of sessions
	TableAudit    = "audit"
	TableRoles    = "roles"
)

// Tables lists everything that is moved, in the order in which it is copied: what refers comes after what is referred
// to. What is left behind belongs to a place: the registrations of verifiers, which register anew, and notes of sweeps.
func Tables() []Table {
	return []Table{
		subjects(), users(), credentials(),
		table(TableRoles, 1, text("name"), list("permissions")),
		serviceKeys(), signingKeys(),
		table("key_ends", 1, text("kid"), number("ended_by"), moment("ended_at"), text("reason")),
		Sessions(), Data(),
		table("counters", 1, octets("key"), number("failures"), moment("last_at"), flag("known"), moment("expires_at")),
		table("one_times", 1, octets("hash"), text("kind"), text("data"), moment("expires_at")),
		table(TableAudit, 1, text("id"), moment("at"), text("kind"), text("actor"), text("target"), text("session"), text("ip"),
			text("user_agent"), text("request_id"), object("detail")),
		table(TableEvents, 1, number("seq"), text("tag"), text("kind"), text("target"), text("effect"), text("spared"),
			moment("until"), moment("at"), text("reason")),
		Log(),
	}
}

// Log describes the one row about the log and the fleet; its id is 1.
func Log() Table {
	return table(TableLog, 1, number("id"), text("log"), number("head"), text("tag"), number("low"), text("low_tag"),
		number("all_ended"), moment("all_ended_at"), moment("restored_at"), span("lease"), list("secrets"))
}

// Sessions describes the records of sessions.
func Sessions() Table {
	return table(TableSessions, 1, text("id"), text("user"), octets("key_hash"), text("mode"), text("transport"),
		flag("browser_session"), list("methods"), octets("claims"),
		moment("created_at"), moment("auth_at"), moment("seen_at"), span("idle"), moment("expires_at"),
		number("stamp"), number("changed"),
		number("generation"), octets("nonce_hash"), moment("rotated_at"), octets("request_hash"), text("refresh_ip"), text("refresh_agent"),
		text("ip"), text("user_agent"), number("ended_by"), moment("ended_at"), text("end_reason"), number("version"))
}

// Data describes the named values of sessions.
func Data() Table {
	return table(TableData, 2, text("session"), text("name"), octets("data"), number("version"))
}

func subjects() Table {
	return table("subjects", 1, text("user"), number("ended"), moment("ended_at"), text("end_reason"), number("changed"),
		flag("disabled"), flag("deleted"), list("roles"), list("permissions"), text("email"), flag("email_verified"))
}

func users() Table {
	return table("users", 1, text("id"), text("email"), flag("email_verified"), moment("created_at"), number("version"))
}

func credentials() Table {
	return table("credentials", 2, text("user"), text("method"), text("data"), moment("created_at"), moment("updated_at"), number("version"))
}

func serviceKeys() Table {
	return table("service_keys", 1, text("id"), octets("hash"), text("name"), list("permissions"), moment("created_at"), moment("expires_at"),
		number("ended_by"), moment("ended_at"), text("end_reason"), number("version"))
}

func signingKeys() Table {
	return table("keys", 1, text("kid"), text("algorithm"), text("use"), number("serial"), octets("sealed"),
		moment("created_at"), moment("activate_at"), moment("retire_at"), moment("remove_at"),
		moment("revoked_at"), number("revoked_by"), text("reason"), number("version"))
}

func table(name string, keys int, columns ...Column) Table {
	return Table{Name: name, Keys: keys, Columns: columns}
}

func text(name string) Column   { return Column{name, Text} }
func number(name string) Column { return Column{name, Number} }
func flag(name string) Column   { return Column{name, Flag} }
func moment(name string) Column { return Column{name, Time} }
func span(name string) Column   { return Column{name, Span} }
func octets(name string) Column { return Column{name, Bytes} }
func list(name string) Column   { return Column{name, List} }
func object(name string) Column { return Column{name, Object} }
