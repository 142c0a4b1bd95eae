package sandbox

import (
	"slices"
	"unsafe"

	seccomp "github.com/elastic/go-seccomp-bpf"
	"github.com/elastic/go-seccomp-bpf/arch"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// forbidden are system calls that no part of the program makes once it runs: other programs, other processes, mounts, the kernel itself,
// clocks, keys, users. They fail with EPERM.
func forbidden() []string {
	return []string{
		"execve", "execveat", "fork", "vfork", "ptrace", "process_vm_readv", "process_vm_writev", "process_madvise", "kcmp", "pidfd_getfd",
		"pidfd_open", "pidfd_send_signal", "personality", "unshare", "setns",
		"mount", "umount", "umount2", "pivot_root", "chroot", "move_mount", "open_tree", "fsopen", "fsconfig", "fsmount", "fspick", "mount_setattr",
		"swapon", "swapoff", "quotactl", "quotactl_fd", "open_by_handle_at", "name_to_handle_at", "mknod", "mknodat", "fanotify_init", "fanotify_mark",
		"init_module", "finit_module", "create_module", "delete_module", "kexec_load", "kexec_file_load", "reboot", "bpf", "perf_event_open", "userfaultfd",
		"iopl", "ioperm", "modify_ldt", "acct", "syslog", "vhangup", "uselib", "nfsservctl", "lookup_dcookie", "vmsplice",
		"settimeofday", "clock_settime", "clock_settime64", "clock_adjtime", "clock_adjtime64", "adjtimex", "stime", "sethostname", "setdomainname",
		"add_key", "request_key", "keyctl",
		"io_uring_setup", "io_uring_enter", "io_uring_register",
		"setuid", "setgid", "setreuid", "setregid", "setresuid", "setresgid", "setfsuid", "setfsgid", "setgroups", "capset",
	}
}

const ipprotoMPTCP = 262 // Landlock does not restrict it

// policy forbids the calls of forbidden, processes beside threads, and sockets of families that nothing here uses.
func policy(info *arch.Info) seccomp.Policy {
	var names []string
	for _, name := range forbidden() {
		if _, known := info.SyscallNames[name]; known { // not every architecture has all
			names = append(names, name)
		}
	}
	slices.Sort(names)
	families := seccomp.ArgumentConditions{}
	for _, family := range []uint64{unix.AF_UNIX, unix.AF_INET, unix.AF_INET6, unix.AF_NETLINK, unix.AF_PACKET} {
		families = append(families, seccomp.Condition{Argument: 0, Operation: seccomp.NotEqual, Value: family})
	}
	conditions := []seccomp.NameWithConditions{
		{Name: "clone", Conditions: seccomp.ArgumentConditions{{Argument: 0, Operation: seccomp.BitsNotSet, Value: unix.CLONE_THREAD}}},
		{Name: "socket", Conditions: families},
		{Name: "socket", Conditions: seccomp.ArgumentConditions{{Argument: 2, Operation: seccomp.Equal, Value: ipprotoMPTCP}}},
	}
	groups := []seccomp.SyscallGroup{{Names: names, NamesWithCondtions: conditions, Action: seccomp.ActionErrno}}
	if _, known := info.SyscallNames["clone3"]; known {
		// A filter cannot see what clone3 makes: its flags are behind a pointer. To ENOSYS the C library of a program built with cgo answers
		// by clone, whose flags can be seen; by any other error it ends the program. The Go runtime makes threads by clone.
		groups = append(groups, seccomp.SyscallGroup{Names: []string{"clone3"}, Action: seccomp.ActionErrno | seccomp.Action(unix.ENOSYS)})
	}
	return seccomp.Policy{DefaultAction: seccomp.ActionAllow, Syscalls: groups}
}

// program is the filter. Calls of another architecture (32-bit ones on a 64-bit kernel), whose numbers mean something else, all fail.
func program() ([]bpf.RawInstruction, error) {
	info, err := arch.GetInfo("")
	if err != nil {
		return nil, err
	}
	p := policy(info)
	rules, err := p.Assemble()
	if err != nil {
		return nil, err
	}
	const archOffset = 4 // of struct seccomp_data (seccomp(2))
	return bpf.Assemble(append([]bpf.Instruction{
		bpf.LoadAbsolute{Off: archOffset, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: uint32(info.ID), SkipTrue: 1},
		bpf.RetConstant{Val: uint32(seccomp.ActionErrno) | uint32(unix.EPERM)},
	}, rules...))
}

// restrictCalls loads the filter for all threads.
func restrictCalls() error {
	raw, err := program()
	if err != nil {
		return err
	}
	filter := make([]unix.SockFilter, len(raw))
	for i, r := range raw {
		filter[i] = unix.SockFilter{Code: r.Op, Jt: r.Jt, Jf: r.Jf, K: r.K}
	}
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&prog)))
	if errno != 0 {
		return errno
	}
	return nil
}
