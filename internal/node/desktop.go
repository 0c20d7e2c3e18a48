package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"os/user"
	"strings"
	"time"

	"pcluster/internal/config"
	"pcluster/internal/node/dcv"
	"pcluster/internal/node/logs"
)

// Remote desktops are those of Amazon DCV, whose server comes with the image. See package
// dcv for what we do about them.
const (
	desktopUser   owner = "dcvextauth" // as whom the authenticator runs
	desktopID           = 403
	dcvUser       owner = "dcv"               // as whom the vendor's server runs
	unitDesktop         = "dcvserver.service" // the vendor's
	unitAuth            = "pcluster_dcv_authenticator.service"
	desktopScript       = "/opt/parallelcluster/scripts/pcluster_dcv_connect.sh"
)

func desktopUnit() unit {
	return unit{
		name: unitAuth, description: "Say who may enter remote desktops", after: "network-online.target",
		command: Program + " dcv-authenticator", options: []string{"User=" + string(desktopUser), "Restart=always", "RestartSec=2"},
	}
}

// desktop makes this node one with remote desktops. key is the setting that wants them;
// guarded says that users are kept from the metadata service.
func (h *Host) desktop(ctx context.Context, key string, d config.Dcv, guarded bool) error {
	if !h.has("dcv") || !h.hasUnit(unitDesktop) {
		return fmt.Errorf("%s.Enabled needs Amazon DCV, which this AMI does not have: install its server in the AMI, "+
			"or in a script of OnNodeStart, or take an official AMI", key)
	}
	if err := h.ensureUser(ctx, string(desktopUser), desktopID, "/bin/bash"); err != nil {
		return err
	}
	if err := h.desktopCertificate(time.Now()); err != nil {
		return err
	}
	if err := h.dir(dcv.Spool, 0o733|os.ModeSticky, desktopUser); err != nil {
		return err
	}
	for log, file := range map[string]struct {
		mode os.FileMode
		who  owner
	}{dcv.AuthenticatorLog: {0o644, desktopUser}, dcv.ConnectLog: {0o666, rootUser}} {
		if err := h.touch(logs.Dir+"/"+log, file.mode, file.who); err != nil {
			return err
		}
	}
	if err := h.write(dcv.ConfigFile, 0o644, rootUser, dcv.Config(d.Port)); err != nil {
		return err
	}
	script := "#!/bin/sh\n# Makes a session and prints how to enter it.\nexec " + Program + " dcv-connect \"$@\"\n"
	if err := h.write(desktopScript, 0o755, rootUser, []byte(script)); err != nil {
		return err
	}
	if err := h.installUnits(ctx, []unit{desktopUnit()}); err != nil {
		return err
	}
	if user, err := h.entry("/etc/passwd", string(dcvUser)); err != nil {
		return err
	} else if guarded && user != nil { // the server proves its licence with the node's role
		if err := h.changeMetadata(ctx, "--allow", string(dcvUser)); err != nil {
			return err
		}
	}
	return errors.Join(h.start(ctx, unitAuth), h.start(ctx, unitDesktop))
}

// desktopCertificate makes the authenticator's certificate, and another one when that is
// about to end.
func (h *Host) desktopCertificate(now time.Time) error {
	if old, err := h.read(dcv.Certificate); err == nil && dcv.Expires(old).After(now.AddDate(0, 3, 0)) && h.exists(dcv.PrivateKey) {
		return nil
	}
	certificate, key, err := dcv.NewCertificate(now)
	if err != nil {
		return err
	}
	return errors.Join(h.write(dcv.PrivateKey, 0o600, desktopUser, key), h.write(dcv.Certificate, 0o644, desktopUser, certificate))
}

// desktopPort is the port of this node's DCV server. It is read from what all users may
// read.
func (h *Host) desktopPort() (int, error) {
	data, err := h.read(attributesFile)
	if err != nil {
		return 0, err
	}
	var file struct {
		Cluster struct {
			Port any `json:"dcv_port"`
		} `json:"cluster"`
	}
	if err := json.Unmarshal(data, &file); err != nil {
		return 0, fmt.Errorf("%s: %w", attributesFile, err)
	}
	port, ok := file.Cluster.Port.(float64)
	if !ok {
		return 0, errors.New("this node has no remote desktops: the cluster file does not enable Dcv here")
	}
	return int(port), nil
}

// runAuthenticator is the daemon that DCV's server asks.
func runAuthenticator(ctx context.Context, h *Host) error {
	port, err := h.desktopPort()
	if err != nil {
		return err
	}
	file, err := os.OpenFile(h.path(logs.Dir+"/"+dcv.AuthenticatorLog), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer file.Close()
	l, err := net.Listen("tcp", dcv.Address(port))
	if err != nil {
		return err
	}
	return dcv.NewAuthenticator(slog.New(newLogHandler(file))).Serve(ctx, l, h.path(dcv.Certificate), h.path(dcv.PrivateKey))
}

// connectPatience is how long a session may take to be there.
const connectPatience = 30 * time.Second

// connectDesktop tells the user how to enter a session on this node.
func connectDesktop(ctx context.Context, h *Host, args []string, out io.Writer) error {
	if len(args) != 1 {
		return errors.New("usage: pcluster_dcv_connect.sh SHARED_FOLDER")
	}
	var log io.Writer = io.Discard
	if file, err := os.OpenFile(h.path(logs.Dir+"/"+dcv.ConnectLog), os.O_APPEND|os.O_WRONLY, 0); err == nil {
		defer file.Close()
		log = file
	}
	logger := slog.New(newLogHandler(log))
	me, err := user.Current()
	if err != nil {
		return err
	}
	line, err := h.enterDesktop(ctx, me.Username, args[0])
	if err != nil {
		logger.Error("no way into a session", "user", me.Username, "error", err)
		return err
	}
	logger.Info("a session can be entered", "user", me.Username)
	_, err = fmt.Fprintln(out, line)
	return err
}

func (h *Host) enterDesktop(ctx context.Context, name, folder string) (string, error) {
	port, err := h.desktopPort()
	if err != nil {
		return "", err
	}
	authority, err := h.read(dcv.Certificate)
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, connectPatience)
	defer cancel()
	c := &dcv.Connection{
		User: name, Port: port, Folder: folder, Spool: h.path(dcv.Spool), Authority: authority, Authenticator: dcv.Address(port),
		Run: dcvCommand, Pause: 250 * time.Millisecond,
	}
	return c.Connect(ctx)
}

// dcvCommand runs the vendor's command.
func dcvCommand(ctx context.Context, args ...string) (string, error) {
	out, err := exec.CommandContext(ctx, "dcv", args...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("dcv %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return string(out), nil
}
