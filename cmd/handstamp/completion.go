package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// completionCmd is "handstamp completion". The scripts ask the program itself what may follow, so that they never
// disagree with it.
type completionCmd struct {
	Shell string `arg:"" enum:"bash,zsh,fish" help:"bash, zsh or fish."`
}

const bashScript = `# handstamp: source <(handstamp completion bash)
_handstamp() {
	local IFS=$'\n'
	COMPREPLY=($(handstamp __complete "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null))
}
complete -o default -F _handstamp handstamp
`

const zshScript = `#compdef handstamp
# handstamp: source <(handstamp completion zsh)
_handstamp() {
	local -a found
	found=("${(@f)$(handstamp __complete "${(@)words[2,CURRENT]}" 2>/dev/null)}")
	compadd -a found
}
compdef _handstamp handstamp
`

const fishScript = `# handstamp: handstamp completion fish | source
complete -c handstamp -f -a '(handstamp __complete (commandline -opc)[2..-1] (commandline -ct) 2>/dev/null)'
`

// Run prints a script.
func (c *completionCmd) Run(_ context.Context, a *app) error {
	script := map[string]string{"bash": bashScript, "zsh": zshScript, "fish": fishScript}[c.Shell]
	if _, err := fmt.Fprint(a.stdout, script); err != nil {
		return fmt.Errorf("print the script: %w", err)
	}
	return nil
}

// completeCmd answers the scripts: a line for each word that may stand where the last one is.
type completeCmd struct {
	Words []string `arg:"" optional:""`
}

// Run prints what may follow.
func (c *completeCmd) Run(_ context.Context, a *app) error {
	last := ""
	if len(c.Words) > 0 {
		last = c.Words[len(c.Words)-1]
	}
	for _, word := range candidates(a.model.Node, c.Words) {
		if strings.HasPrefix(word, last) {
			if err := a.say("%s", word); err != nil {
				return err
			}
		}
	}
	return nil
}

// candidates are the commands below the one that the words name, and its flags where the last word begins like one.
func candidates(root *kong.Node, words []string) []string {
	node, flags := root, slices.Clone(root.Flags)
	for _, w := range words[:max(0, len(words)-1)] {
		for _, child := range node.Children {
			if child.Name == w {
				node = child
				flags = append(flags, node.Flags...)
				break
			}
		}
	}
	var found []string
	if len(words) > 0 && strings.HasPrefix(words[len(words)-1], "-") {
		for _, f := range flags {
			found = append(found, "--"+f.Name)
		}
		return found
	}
	for _, child := range node.Children {
		if !child.Hidden {
			found = append(found, child.Name)
		}
	}
	return found
}
