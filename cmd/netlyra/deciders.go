package main

import (
	"os"
	"strconv"
)

// deciders are the local users who may decide where no token is demanded: root and who has started the program, through sudo,
// too.
func deciders() []int {
	uid := os.Getuid()
	all := []int{0, uid}
	if uid != 0 {
		return all // whoever is no root has set SUDO_UID by hand
	}
	if n, err := strconv.Atoi(os.Getenv("SUDO_UID")); err == nil && n > 0 {
		all = append(all, n)
	}
	return all
}
