package main

import (
	"fmt"
	"slices"
	"strings"

	"netlyra/internal/capture"
	"netlyra/internal/config"
)

// What the shells run. Each asks `netlyra complete` with the words so far, the last one unfinished; an answer without a line leaves file names
// to the shell.
const (
	bashCompletion = `# bash completion for netlyra: source <(netlyra completion bash)
_netlyra() {
	local IFS=$'\n' words=("${COMP_WORDS[@]:1:COMP_CWORD-1}") last=${COMP_WORDS[COMP_CWORD]} start=
	# bash splits words at = and :
	local line=${COMP_LINE:0:COMP_POINT}
	local whole=${line##*[[:space:]]}
	[[ $whole == *"$last" ]] && start=${whole%"$last"}
	[[ $last == '=' ]] && start=$whole last=
	local rest=${line%"$whole"}
	IFS=$' \t\n' read -r -a words <<<"$rest"
	COMPREPLY=()
	local answer
	while IFS= read -r answer; do
		[[ $answer == "$start"* ]] && COMPREPLY+=("${answer#"$start"}")
	done < <("${COMP_WORDS[0]}" complete -- "${words[@]:1}" "$whole" 2>/dev/null)
	[[ ${COMPREPLY[0]-} == --*= ]] && compopt -o nospace
	return 0
}
complete -o default -F _netlyra netlyra
`
	zshCompletion = `#compdef netlyra
# zsh completion for netlyra
_netlyra() {
	local -a answers
	answers=("${(@f)$("${words[1]}" complete -- "${(@)words[2,CURRENT]}" 2>/dev/null)}")
	answers=(${answers:#})
	if (( ${#answers} )); then
		compadd -S '' -- ${(M)answers:#*=}
		compadd -- ${answers:#*=}
	else
		_files
	fi
}
compdef _netlyra netlyra
`
	fishCompletion = `# fish completion for netlyra
function __netlyra_complete
	set -l words (commandline -opc) (commandline -ct)
	set -l answers ($words[1] complete -- $words[2..-1] 2>/dev/null)
	if test (count $answers) -gt 0
		printf '%s\n' $answers
	else
		__fish_complete_path (commandline -ct)
	end
end
complete -c netlyra -f -a '(__netlyra_complete)'
`
)

// completion prints the script of a shell.
func (p *program) completion(shell string) error {
	script := map[string]string{"bash": bashCompletion, "zsh": zshCompletion, "fish": fishCompletion}[shell]
	_, err := fmt.Fprint(p.stdout, script)
	return err
}

// complete lists what may stand in place of the last word.
func (p *program) complete(words []string) error {
	answers, interfaces, err := config.Complete(words)
	if err != nil {
		return err
	}
	if interfaces != nil {
		devices, err := capture.Devices()
		if err != nil {
			return err
		}
		for _, d := range devices {
			answers = append(answers, *interfaces+d.Name)
		}
	}
	last := ""
	if len(words) > 0 {
		last = words[len(words)-1]
	}
	answers = slices.DeleteFunc(answers, func(a string) bool { return !strings.HasPrefix(a, last) })
	for _, a := range answers {
		if _, err := fmt.Fprintln(p.stdout, plain(a)); err != nil {
			return err
		}
	}
	return nil
}
