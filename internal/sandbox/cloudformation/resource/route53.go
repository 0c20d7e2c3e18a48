package resource

import (
	"context"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/route53"
	"github.com/aws/aws-sdk-go-v2/service/route53/types"

	"pcluster/internal/sandbox/cloudformation/template"
)

// Route53 is the part of Route 53 that stacks use.
type Route53 interface {
	CreateHostedZone(context.Context, *route53.CreateHostedZoneInput) (*route53.CreateHostedZoneOutput, error)
	GetHostedZone(context.Context, *route53.GetHostedZoneInput) (*route53.GetHostedZoneOutput, error)
	ListHostedZonesByName(context.Context, *route53.ListHostedZonesByNameInput) (*route53.ListHostedZonesByNameOutput, error)
	DeleteHostedZone(context.Context, *route53.DeleteHostedZoneInput) (*route53.DeleteHostedZoneOutput, error)
	ChangeResourceRecordSets(context.Context, *route53.ChangeResourceRecordSetsInput) (*route53.ChangeResourceRecordSetsOutput, error)
	ChangeTagsForResource(context.Context, *route53.ChangeTagsForResourceInput) (*route53.ChangeTagsForResourceOutput, error)
}

type route53Associations interface {
	AssociateVPCWithHostedZone(context.Context, *route53.AssociateVPCWithHostedZoneInput) (*route53.AssociateVPCWithHostedZoneOutput, error)
}

func route53Types(api Route53) []*Type { return []*Type{hostedZoneType(api), recordSetType(api)} }

func hostedZoneType(api Route53) *Type {
	t := &Type{
		Name:       "AWS::Route53::HostedZone",
		Attributes: []string{"Id", "NameServers"},
		Replaces:   []string{"Name", "VPCs"},
		properties: only("Name", "VPCs", "HostedZoneConfig", "HostedZoneTags").refuses("QueryLoggingConfig", "HostedZoneFeatures"),
	}
	retag := func(ctx context.Context, r *Request, set []tag, remove []string) error {
		if len(set)+len(remove) == 0 {
			return nil
		}
		in := &route53.ChangeTagsForResourceInput{ResourceId: aws.String(r.PhysicalID), ResourceType: types.TagResourceTypeHostedzone, RemoveTagKeys: remove}
		for _, t := range set {
			in.AddTags = append(in.AddTags, types.Tag{Key: aws.String(t.Key), Value: aws.String(t.Value)})
		}
		_, err := api.ChangeTagsForResource(ctx, in)
		return err
	}
	t.Create = func(ctx context.Context, r *Request) error {
		vpcs, err := decodeInto[[]types.VPC](r.Props["VPCs"])
		if err != nil {
			return err
		}
		name := r.String("Name")
		if name == "" {
			return fmt.Errorf("a hosted zone needs a Name")
		}
		in := &route53.CreateHostedZoneInput{Name: aws.String(name), CallerReference: aws.String(r.Token)}
		if config, _ := r.Props["HostedZoneConfig"].(map[string]any); config != nil || len(vpcs) > 0 {
			in.HostedZoneConfig = &types.HostedZoneConfig{PrivateZone: len(vpcs) > 0}
			if comment, ok := template.Text(config["Comment"]); ok {
				in.HostedZoneConfig.Comment = aws.String(comment)
			}
		}
		if len(vpcs) > 0 {
			in.VPC = &vpcs[0]
		}
		var zone *types.HostedZone
		out, err := api.CreateHostedZone(ctx, in)
		switch {
		case err == nil:
			zone = out.HostedZone
			if out.DelegationSet != nil {
				servers := []any{}
				for _, s := range out.DelegationSet.NameServers {
					servers = append(servers, s)
				}
				r.Set("NameServers", servers)
			}
		case r.Resumed && alreadyExists(err):
			found, err := api.ListHostedZonesByName(ctx, &route53.ListHostedZonesByNameInput{DNSName: in.Name})
			if err != nil {
				return err
			}
			for _, z := range found.HostedZones {
				if aws.ToString(z.CallerReference) == r.Token {
					zone = &z
				}
			}
		}
		if zone == nil {
			return err
		}
		id := strings.TrimPrefix(aws.ToString(zone.Id), "/hostedzone/")
		r.Set("Id", id)
		if err := r.Created(id); err != nil {
			return err
		}
		for i := 1; i < len(vpcs); i++ {
			more, ok := api.(route53Associations)
			if !ok {
				return unsupported("VPCs with more than one element")
			}
			if _, err := more.AssociateVPCWithHostedZone(ctx, &route53.AssociateVPCWithHostedZoneInput{HostedZoneId: aws.String(id), VPC: &vpcs[i]}); err != nil && errorCode(err) != "ConflictingDomainExists" {
				return err
			}
		}
		return retag(ctx, r, r.tagList("HostedZoneTags"), nil)
	}
	t.Update = func(ctx context.Context, r *Request) error {
		set, remove := r.tagChanges("HostedZoneTags")
		return retag(ctx, r, set, remove)
	}
	t.Delete = func(ctx context.Context, r *Request) error {
		_, err := api.DeleteHostedZone(ctx, &route53.DeleteHostedZoneInput{Id: aws.String(r.PhysicalID)})
		return gone(err)
	}
	return t
}

func recordSetType(api Route53) *Type {
	t := &Type{
		Name:     "AWS::Route53::RecordSet",
		Replaces: []string{"HostedZoneId", "HostedZoneName", "Name", "SetIdentifier"},
		properties: properties{input: like[types.ResourceRecordSet]().input, required: []string{"Name", "Type"},
			extra: []string{"HostedZoneId", "HostedZoneName", "Comment", "ResourceRecords"}, hidden: []string{"TrafficPolicyInstanceId"}},
	}
	zone := func(ctx context.Context, props map[string]any) (string, error) {
		if id, ok := template.Text(props["HostedZoneId"]); ok {
			return id, nil
		}
		name, _ := template.Text(props["HostedZoneName"])
		out, err := api.ListHostedZonesByName(ctx, &route53.ListHostedZonesByNameInput{DNSName: aws.String(name)})
		if err != nil {
			return "", err
		}
		for _, z := range out.HostedZones {
			if strings.EqualFold(strings.TrimSuffix(aws.ToString(z.Name), "."), strings.TrimSuffix(name, ".")) {
				return strings.TrimPrefix(aws.ToString(z.Id), "/hostedzone/"), nil
			}
		}
		return "", fmt.Errorf("no hosted zone is named %q", name)
	}
	change := func(ctx context.Context, action types.ChangeAction, props map[string]any) error {
		id, err := zone(ctx, props)
		if err != nil {
			return err
		}
		set := input[types.ResourceRecordSet](t.properties, props)
		for _, v := range stringList(props["ResourceRecords"]) {
			set.ResourceRecords = append(set.ResourceRecords, types.ResourceRecord{Value: aws.String(v)})
		}
		_, err = api.ChangeResourceRecordSets(ctx, &route53.ChangeResourceRecordSetsInput{
			HostedZoneId: aws.String(id),
			ChangeBatch:  &types.ChangeBatch{Changes: []types.Change{{Action: action, ResourceRecordSet: set}}},
		})
		return err
	}
	t.Create = func(ctx context.Context, r *Request) error {
		action := types.ChangeActionCreate
		if r.Resumed {
			action = types.ChangeActionUpsert
		}
		if err := change(ctx, action, r.Props); err != nil {
			return err
		}
		return r.Created(strings.TrimSuffix(r.String("Name"), "."))
	}
	t.Update = func(ctx context.Context, r *Request) error {
		if r.Changed("Type") {
			if err := change(ctx, types.ChangeActionDelete, r.Before); err != nil && errorCode(err) != "InvalidChangeBatch" {
				return gone(err)
			}
		}
		return change(ctx, types.ChangeActionUpsert, r.Props)
	}
	t.Delete = func(ctx context.Context, r *Request) error {
		err := change(ctx, types.ChangeActionDelete, r.Props)
		if errorCode(err) == "InvalidChangeBatch" { // no such record
			return nil
		}
		return gone(err)
	}
	return t
}
