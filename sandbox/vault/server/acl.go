package main

import (
	"slices"
	"strings"

	"github.com/hashicorp/vault/sdk/logical"
)

// acl is what the policies of one token allow: the capabilities for each pattern of paths.
type acl struct {
	root  bool
	rules map[string][]string
}

// capabilityOf names what an operation needs.
func capabilityOf(operation logical.Operation) string {
	switch operation {
	case logical.HelpOperation:
		return "read"
	default:
		return string(operation)
	}
}

// allows says whether the operation may be done; sudo says whether the path needs that too.
func (a acl) allows(operation logical.Operation, path string, sudo bool) bool {
	granted := a.capabilities(path)
	if slices.Contains(granted, rootPolicy) {
		return true
	}
	return slices.Contains(granted, capabilityOf(operation)) &&
		(!sudo || slices.Contains(granted, "sudo"))
}

// capabilities are what the best matching pattern grants, all policies together; deny wins.
func (a acl) capabilities(path string) []string {
	if a.root {
		return []string{rootPolicy}
	}
	granted := a.rules[a.best(path)]
	if len(granted) == 0 || slices.Contains(granted, "deny") {
		return []string{"deny"}
	}
	sorted := slices.Sorted(slices.Values(granted))
	return slices.Compact(sorted)
}

// best is the pattern that decides about a path: the path itself, else the match of highest
// priority. A folder that is listed also answers to its name without the slash.
func (a acl) best(path string) string {
	for _, exact := range []string{path, strings.TrimSuffix(path, "/")} {
		if _, found := a.rules[exact]; found {
			return exact
		}
	}
	var chosen string
	for pattern := range a.rules {
		if matches(pattern, path) && (chosen == "" || precedes(pattern, chosen)) {
			chosen = pattern
		}
	}
	return chosen
}

// touches says whether any rule grants something below a mount: then its version may be asked.
func (a acl) touches(mount string) bool {
	if a.root {
		return true
	}
	for pattern, granted := range a.rules {
		literal, _, wild := strings.Cut(strings.TrimSuffix(pattern, "*"), "+")
		wild = wild || strings.HasSuffix(pattern, "*")
		inside := strings.HasPrefix(literal, mount) || wild && strings.HasPrefix(mount, literal)
		if inside && len(granted) > 0 && !slices.Contains(granted, "deny") {
			return true
		}
	}
	return false
}

// matches says whether a pattern covers a path: `+` is one segment, `*` at the end any rest.
func matches(pattern, path string) bool {
	prefix, glob := strings.CutSuffix(pattern, "*")
	wanted, given := strings.Split(prefix, "/"), strings.Split(path, "/")
	if len(given) < len(wanted) || !glob && len(given) != len(wanted) {
		return false
	}
	for index, segment := range wanted {
		last := glob && index == len(wanted)-1
		switch {
		case segment == "+" && (!last || given[index] != ""):
		case last && strings.HasPrefix(given[index], segment):
		case segment == given[index]:
		default:
			return false
		}
	}
	return true
}

// precedes says whether a pattern has priority over another that matches the same path, by
// the order that Vault's documentation of policies gives.
func precedes(pattern, other string) bool {
	if first, second := firstWildcard(pattern), firstWildcard(other); first != second {
		return first > second
	}
	if first, second := strings.HasSuffix(pattern, "*"), strings.HasSuffix(other, "*"); first != second {
		return second
	}
	if first, second := strings.Count(pattern, "+"), strings.Count(other, "+"); first != second {
		return first < second
	}
	if len(pattern) != len(other) {
		return len(pattern) > len(other)
	}
	return pattern > other
}

func firstWildcard(pattern string) int {
	if index := strings.IndexAny(pattern, "+*"); index >= 0 {
		return index
	}
	return len(pattern)
}
