package cli

import (
	"encoding/json"
	"strings"
)

// modernQuery returns a query without literals of JMESPath's first version:
// text between backticks that is no JSON. Newer versions want quotes in it, but
// Python's library, and so the queries that people have, go without:
// events[?resourceStatus==`CREATE_FAILED`].
func modernQuery(query string) string {
	var out strings.Builder
	for i := 0; i < len(query); {
		end := i + 1
		quote := query[i]
		if quote != '\'' && quote != '"' && quote != '`' {
			out.WriteByte(quote)
			i++
			continue
		}
		for end < len(query) && query[end] != quote {
			if query[end] == '\\' {
				end++
			}
			end++
		}
		if end >= len(query) { // never closed: an error that is not ours to find
			return out.String() + query[i:]
		}
		text := query[i+1 : end]
		if quote == '`' && !json.Valid([]byte(strings.ReplaceAll(text, "\\`", "`"))) {
			if quoted := `"` + strings.TrimLeft(text, " \t\r\n") + `"`; json.Valid([]byte(strings.ReplaceAll(quoted, "\\`", "`"))) {
				text = quoted
			}
		}
		out.WriteByte(quote)
		out.WriteString(text)
		out.WriteByte(quote)
		i = end + 1
	}
	return out.String()
}
