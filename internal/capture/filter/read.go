package filter

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"golang.org/x/net/bpf"
)

// ReadProgram reads what tcpdump -ddd prints: the number of instructions, then each on a line of its own as four decimal
// numbers (code, jump if true, jump if false, k). A program that the kernel would not take, or a Matcher could not
// finish, is an error: unknown codes, jumps out of the program, an end without a return, scratch memory beyond 16 words,
// division by a constant 0.
func ReadProgram(r io.Reader) ([]bpf.RawInstruction, error) {
	lines := bufio.NewScanner(io.LimitReader(r, maxProgramText))
	count, err := readCount(lines)
	if err != nil {
		return nil, err
	}
	program := make([]bpf.RawInstruction, 0, count)
	for lines.Scan() {
		text := strings.TrimSpace(lines.Text())
		if text == "" {
			continue
		}
		if len(program) == count {
			return nil, fmt.Errorf("filter: the first line promises %d instructions, but there are more", count)
		}
		in, err := readInstruction(text)
		if err != nil {
			return nil, fmt.Errorf("filter: instruction %d: %w", len(program), err)
		}
		program = append(program, in)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("filter: read a program: %w", err)
	}
	if len(program) < count {
		return nil, fmt.Errorf("filter: the first line promises %d instructions, but there are %d", count, len(program))
	}
	return program, validate(program)
}

// maxProgramText bounds what is read: MaxInstructions lines of four numbers.
const maxProgramText = (MaxInstructions + 1) * 32

func readCount(lines *bufio.Scanner) (int, error) {
	if !lines.Scan() {
		if err := lines.Err(); err != nil {
			return 0, fmt.Errorf("filter: read a program: %w", err)
		}
		return 0, errors.New("filter: there is no program: make one with tcpdump -ddd")
	}
	text := strings.TrimSpace(lines.Text())
	count, err := strconv.Atoi(text)
	if err != nil {
		return 0, fmt.Errorf("filter: the first line should be the number of instructions, as in the output of tcpdump -ddd, not %s", shown(text))
	}
	if count < 1 || count > MaxInstructions {
		return 0, fmt.Errorf("filter: a program has 1 to %d instructions, not %d", MaxInstructions, count)
	}
	return count, nil
}

func readInstruction(text string) (in bpf.RawInstruction, err error) {
	fields := strings.Fields(text)
	if len(fields) != 4 {
		return in, fmt.Errorf("%s is not four numbers", shown(text))
	}
	var n [4]uint64
	for i, size := range []int{16, 8, 8, 32} {
		if n[i], err = strconv.ParseUint(fields[i], 10, size); err != nil {
			return in, fmt.Errorf("%s is not a number of %d bits", shown(fields[i]), size)
		}
	}
	return bpf.RawInstruction{Op: uint16(n[0]), Jt: uint8(n[1]), Jf: uint8(n[2]), K: uint32(n[3])}, nil
}

// validate holds a program to the rules of the machine.
func validate(program []bpf.RawInstruction) error {
	if len(program) == 0 || len(program) > MaxInstructions {
		return fmt.Errorf("filter: a program has 1 to %d instructions, not %d", MaxInstructions, len(program))
	}
	for i, in := range program {
		if err := validateOne(in, uint64(len(program)-i-1)); err != nil {
			return fmt.Errorf("filter: instruction %d: %w", i, err)
		}
	}
	if last := program[len(program)-1]; last.Op != ret && last.Op != ret|retA {
		return errors.New("filter: the program does not end with a return")
	}
	return nil
}

// validateOne checks an instruction that has rest others behind it.
func validateOne(in bpf.RawInstruction, rest uint64) error {
	code, ok := codeOf(in.Op)
	switch {
	case !ok:
		return fmt.Errorf("its code %d is unknown", in.Op)
	case code == matchJump && uint64(in.K) >= rest:
		return fmt.Errorf("it jumps %d instructions, out of the program", in.K)
	case code >= matchEqual && code <= matchBitsX && uint64(max(in.Jt, in.Jf)) >= rest:
		return fmt.Errorf("it jumps %d instructions, out of the program", max(in.Jt, in.Jf))
	case code >= matchRead && code <= matchStoreX && in.K > 15:
		return fmt.Errorf("there is no word %d of scratch memory, which has 16", in.K)
	case (in.Op == alu|div || in.Op == alu|mod) && in.K == 0:
		return errors.New("it divides by 0")
	case (in.Op == alu|lsh || in.Op == alu|rsh) && in.K > 31:
		return errors.New("it shifts by more than 31 bits")
	}
	return nil
}
