//go:build linux

package sandbox

import (
	"cmp"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"pcluster/internal/sandbox"
	"pcluster/internal/sandbox/fault"
)

func newFault(home func() sandbox.Home) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "fault",
		Short: "Break something in the region, to see what a cluster makes of it",
		Long: `Break something in the region, to see what a cluster makes of it. What is
broken stays so until it has happened often enough, its time is up, or
"fault clear" mends everything; a region that is restarted is sound.

  pcluster sandbox fault refuse ec2:RunInstances RequestLimitExceeded --times 20
  pcluster sandbox fault delay dynamodb:* 5s --for 2m
  pcluster sandbox fault boot c5.large --times 1
  pcluster sandbox fault cut i-0123456789abcdef0
  pcluster sandbox fault block cr-0123456789abcdef0 --start 1m --end 5m`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newRefuse(home), newDelay(home), newBoot(home), newCut(home), newKill(home), newInterrupt(home), newBlock(home), newImpair(home), newEvent(home), newFaults(home), newMend(home))
	return cmd
}

// extent are the flags that say when a fault is over.
type extent struct {
	times int
	last  time.Duration
}

func (e *extent) flags(cmd *cobra.Command) *cobra.Command {
	cmd.Flags().IntVar(&e.times, "times", 0, "how often it happens (0: as often as it can)")
	cmd.Flags().DurationVar(&e.last, "for", 0, "how long it lasts, such as 90s (0: until fault clear)")
	return cmd
}

func (e *extent) begin(cmd *cobra.Command, home sandbox.Home, f fault.Fault) error {
	f.Times = e.times
	if e.last < 0 {
		return fmt.Errorf("--for %v: give a time that is to come", e.last)
	}
	if e.last > 0 {
		f.Until = time.Now().Add(e.last)
	}
	_, err := sandbox.NewClient(home).Break(cmd.Context(), f)
	return err
}

func newRefuse(home func() sandbox.Home) *cobra.Command {
	var e extent
	return e.flags(&cobra.Command{
		Use:   "refuse SERVICE:OPERATION CODE",
		Short: "Answer calls with an error",
		Args:  cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return e.begin(cmd, home(), fault.Fault{Kind: fault.Refuse, Of: args[0], Code: args[1]})
		},
	})
}

func newDelay(home func() sandbox.Home) *cobra.Command {
	var e extent
	return e.flags(&cobra.Command{
		Use:   "delay SERVICE:OPERATION DURATION",
		Short: "Hold calls back before they are answered",
		Args:  cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			after, err := time.ParseDuration(args[1])
			if err != nil {
				return fmt.Errorf("%q is no duration: give one such as 5s", args[1])
			}
			return e.begin(cmd, home(), fault.Fault{Kind: fault.Delay, Of: args[0], After: after})
		},
	})
}

func newBoot(home func() sandbox.Home) *cobra.Command {
	var e extent
	return e.flags(&cobra.Command{
		Use:   "boot INSTANCE-TYPE",
		Short: "Give instances power, and let them never boot",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return e.begin(cmd, home(), fault.Fault{Kind: fault.Boot, Of: args[0]})
		},
	})
}

func newCut(home func() sandbox.Home) *cobra.Command {
	return &cobra.Command{
		Use:   "cut INSTANCE [INSTANCE]",
		Short: "Cut the network between two instances, or between one and all the world",
		Args:  cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			other := ""
			if len(args) == 2 {
				other = args[1]
			}
			return sandbox.NewClient(home()).Cut(cmd.Context(), args[0], other)
		},
	}
}

func newKill(home func() sandbox.Home) *cobra.Command {
	return &cobra.Command{
		Use:   "kill INSTANCE",
		Short: "Take the power of an instance's machine away",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return sandbox.NewClient(home()).Kill(cmd.Context(), args[0])
		},
	}
}

func newInterrupt(home func() sandbox.Home) *cobra.Command {
	notice := 2 * time.Minute
	cmd := &cobra.Command{
		Use:   "interrupt INSTANCE",
		Short: "Give a spot instance notice, and take it away when the time is up",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return sandbox.NewClient(home()).Interrupt(cmd.Context(), args[0], notice)
		},
	}
	cmd.Flags().DurationVar(&notice, "notice", notice, "time between the notice and the end")
	return cmd
}

func newBlock(home func() sandbox.Home) *cobra.Command {
	var start, end time.Duration
	cmd := &cobra.Command{
		Use:   "block CAPACITY-RESERVATION",
		Short: "Let a capacity block begin and end at other times than it was bought for",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return sandbox.NewClient(home()).MoveBlock(cmd.Context(), args[0], start, end)
		},
	}
	cmd.Flags().DurationVar(&start, "start", 0, "time until it begins (0: it has begun)")
	cmd.Flags().DurationVar(&end, "end", 24*time.Hour, "time until it ends, and its instances with it")
	return cmd
}

func newImpair(home func() sandbox.Home) *cobra.Command {
	host := false
	cmd := &cobra.Command{
		Use:   "impair INSTANCE",
		Short: "Let a status check of an instance fail, while its machine goes on",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return sandbox.NewClient(home()).Impair(cmd.Context(), args[0], host)
		},
	}
	cmd.Flags().BoolVar(&host, "system", false, "the system status check, of the host, in place of the instance status check")
	return cmd
}

func newEvent(home func() sandbox.Home) *cobra.Command {
	in := time.Hour
	cmd := &cobra.Command{
		Use:   "event INSTANCE CODE",
		Short: "Announce that AWS will do something to an instance, such as instance-retirement",
		Args:  cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return sandbox.NewClient(home()).ScheduleEvent(cmd.Context(), args[0], args[1], in)
		},
	}
	cmd.Flags().DurationVar(&in, "in", in, "time until then")
	return cmd
}

func newFaults(home func() sandbox.Home) *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List what is broken",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			all, err := sandbox.NewClient(home()).Faults(cmd.Context())
			if err != nil {
				return err
			}
			w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
			fmt.Fprintln(w, "FAULT\tOF\tHAPPENED\tUNTIL")
			for _, f := range all.Faults {
				what := f.Kind
				switch f.Kind {
				case fault.Refuse:
					what += " " + f.Code
				case fault.Delay:
					what += " " + f.After.String()
				}
				happened := fmt.Sprint(f.Met)
				if f.Times > 0 {
					happened = fmt.Sprintf("%d of %d", f.Met, f.Times)
				}
				until := "cleared"
				if !f.Until.IsZero() {
					until = f.Until.Format(time.TimeOnly)
				}
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", what, f.Of, happened, until)
			}
			for _, c := range all.Cuts {
				fmt.Fprintf(w, "cut\t%s from %s\t\tcleared\n", c.Instance, cmp.Or(c.Other, "all"))
			}
			return w.Flush()
		},
	}
}

func newMend(home func() sandbox.Home) *cobra.Command {
	return &cobra.Command{
		Use:   "clear",
		Short: "Mend everything that was broken by faults, and say how much it was",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			n, err := sandbox.NewClient(home()).Mend(cmd.Context())
			if err == nil {
				fmt.Fprintf(cmd.OutOrStdout(), "%d ended\n", n)
			}
			return err
		},
	}
}
