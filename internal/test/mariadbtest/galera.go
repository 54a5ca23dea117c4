package mariadbtest

import (
	"fmt"
	"path/filepath"
)

// GaleraArgs returns the options of a server that is a node of the Galera cluster
// which it finds at the address join, or of a new one if that is "", and the address
// at which others find it. What brings one node's state to another, wsrep_sst_method,
// is up to the caller.
func GaleraArgs(d Dist, join string) (args []string, address string, err error) {
	library := filepath.Join(filepath.Dir(filepath.Dir(d.Program("mariadbd"))), "root/usr/lib/galera/libgalera_smm.so")
	if found, err := filepath.Glob(library); err != nil || len(found) == 0 {
		return nil, "", fmt.Errorf("find Galera beside MariaDB %s: there is no %s", d.Version, library)
	}
	var ports [2]int
	for i := range ports {
		if ports[i], err = FreePort(); err != nil {
			return nil, "", fmt.Errorf("find a port for Galera: %w", err)
		}
	}
	address = fmt.Sprintf("127.0.0.1:%d", ports[0])
	return []string{
		"--wsrep-on=ON", "--wsrep-provider=" + library, "--wsrep-cluster-address=gcomm://" + join,
		"--wsrep-node-address=127.0.0.1", "--innodb-autoinc-lock-mode=2", "--binlog-format=ROW", "--log-slave-updates=ON",
		fmt.Sprintf("--wsrep-provider-options=gmcast.listen_addr=tcp://%s;base_host=127.0.0.1;ist.recv_addr=127.0.0.1:%d",
			address, ports[1]),
	}, address, nil
}
