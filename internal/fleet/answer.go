package fleet

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/smithy-go/middleware"
	smithytime "github.com/aws/smithy-go/time"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// EC2 describes a thousand instances in megabytes of XML, of which the fleet reads a
// twentieth, as often as every ten seconds. To decode all of it would be most of the
// daemon's work.

// readLeanly has a call of DescribeInstances return only the members that [instance]
// reads. Answers that it does not understand are the SDK's to read, and so are errors.
func readLeanly(o *ec2.Options) {
	o.APIOptions = append(o.APIOptions, func(stack *middleware.Stack) error {
		const id = "OperationDeserializer"
		sdk, ok := stack.Deserialize.Get(id)
		if !ok {
			return errors.New("the SDK has no " + id)
		}
		_, err := stack.Deserialize.Swap(id, leanReader{sdk})
		return err
	})
}

// A leanReader stands in place of the SDK's.
type leanReader struct {
	middleware.DeserializeMiddleware
}

func (r leanReader) HandleDeserialize(ctx context.Context, in middleware.DeserializeInput, next middleware.DeserializeHandler) (
	middleware.DeserializeOutput, middleware.Metadata, error,
) {
	out, metadata, err := next.HandleDeserialize(ctx, in)
	response, ok := out.RawResponse.(*smithyhttp.Response)
	if err == nil && ok && response.StatusCode == http.StatusOK {
		var body bytes.Buffer
		body.Grow(max(int(response.ContentLength), bytes.MinRead) + bytes.MinRead)
		_, err = body.ReadFrom(response.Body)
		_ = response.Body.Close() // it has been read to its end, or can't be
		if err == nil {
			if result, plain := decodeInstances(body.Bytes()); plain == nil {
				out.Result = result
				return out, metadata, nil
			}
		}
		response.Body = io.NopCloser(&body)
	}
	return r.DeserializeMiddleware.HandleDeserialize(ctx, in, middleware.DeserializeHandlerFunc(
		func(context.Context, middleware.DeserializeInput) (middleware.DeserializeOutput, middleware.Metadata, error) {
			return out, metadata, err
		}))
}

// decodeInstances reads an answer to DescribeInstances.
func decodeInstances(body []byte) (*ec2.DescribeInstancesOutput, error) {
	s := &xmlScanner{rest: body}
	out := &ec2.DescribeInstancesOutput{}
	s.next()
	s.children(func(name []byte) {
		switch string(name) {
		case "nextToken":
			out.NextToken = s.pointer()
		case "reservationSet":
			s.children(func([]byte) {
				var r types.Reservation
				s.child("instancesSet", func() {
					s.children(func([]byte) { r.Instances = append(r.Instances, s.instance()) })
				})
				out.Reservations = append(out.Reservations, r)
			})
		}
	})
	return out, s.err
}

func (s *xmlScanner) instance() types.Instance {
	var i types.Instance
	s.children(func(name []byte) {
		switch string(name) {
		case "instanceId":
			i.InstanceId = s.pointer()
		case "privateIpAddress":
			i.PrivateIpAddress = s.pointer()
		case "privateDnsName":
			i.PrivateDnsName = s.pointer()
		case "subnetId":
			i.SubnetId = s.pointer()
		case "clientToken":
			i.ClientToken = s.pointer()
		case "launchTime":
			i.LaunchTime = s.time()
		case "instanceState":
			i.State = new(types.InstanceState)
			s.child("name", func() { i.State.Name = types.InstanceStateName(s.text()) })
		case "networkInterfaceSet":
			s.children(func([]byte) { i.NetworkInterfaces = append(i.NetworkInterfaces, s.networkInterface()) })
		case "tagSet":
			s.children(func([]byte) { i.Tags = append(i.Tags, s.tag()) })
		}
	})
	return i
}

func (s *xmlScanner) networkInterface() types.InstanceNetworkInterface {
	var n types.InstanceNetworkInterface
	s.children(func(name []byte) {
		switch string(name) {
		case "privateIpAddress":
			n.PrivateIpAddress = s.pointer()
		case "attachment":
			n.Attachment = new(types.InstanceNetworkInterfaceAttachment)
			s.children(func(name []byte) {
				switch string(name) {
				case "deviceIndex":
					n.Attachment.DeviceIndex = s.int()
				case "networkCardIndex":
					n.Attachment.NetworkCardIndex = s.int()
				}
			})
		}
	})
	return n
}

func (s *xmlScanner) tag() types.Tag {
	var t types.Tag
	s.children(func(name []byte) {
		switch string(name) {
		case "key":
			t.Key = s.pointer()
		case "value":
			t.Value = s.pointer()
		}
	})
	return t
}

// An xmlScanner reads elements and their text, which is all that AWS's XML has. Whatever
// else there is in XML is an error.
type xmlScanner struct {
	rest   []byte
	before []byte // text before the latest tag
	depth  int    // of elements that have begun and not ended
	closes bool   // the latest tag also ends its element
	err    error
}

var errNotPlain = errors.New("XML of another kind than AWS's")

// next goes to the next tag, and returns the name of the element that begins with it, or
// nothing if one ends.
func (s *xmlScanner) next() []byte {
	if s.closes {
		s.closes, s.before = false, nil
		s.depth--
		return nil
	}
	for s.err == nil {
		begin := bytes.IndexByte(s.rest, '<')
		if begin < 0 {
			s.err = io.ErrUnexpectedEOF
			break
		}
		length := bytes.IndexByte(s.rest[begin:], '>')
		if length < 2 {
			s.err = io.ErrUnexpectedEOF
			break
		}
		text, tag := s.rest[:begin], s.rest[begin+1:begin+length]
		s.rest = s.rest[begin+length+1:]
		switch tag[0] {
		case '?':
			if s.depth > 0 {
				s.err = errNotPlain
			}
			continue
		case '/':
			s.before = text
			s.depth--
			return nil
		}
		if s.closes = tag[len(tag)-1] == '/'; s.closes {
			tag = tag[:len(tag)-1]
		}
		name, attributes, _ := bytes.Cut(tag, []byte{' '})
		if len(name) == 0 || bytes.ContainsAny(name, "!:\t\r\n'\"=/") || bytes.Count(attributes, []byte{'"'})%2 != 0 || bytes.IndexByte(attributes, '\'') >= 0 {
			s.err = errNotPlain
			break
		}
		s.depth++
		return name
	}
	return nil
}

// children calls f with the name of each child of the element that has just begun. What
// f does not read is passed over.
func (s *xmlScanner) children(f func(name []byte)) {
	inside := s.depth
	for s.err == nil {
		name := s.next()
		if name == nil {
			return
		}
		f(name)
		for s.depth > inside && s.err == nil {
			s.next()
		}
	}
}

// child calls f for the children of a name.
func (s *xmlScanner) child(name string, f func()) {
	s.children(func(n []byte) {
		if string(n) == name {
			f()
		}
	})
}

var xmlEntities = strings.NewReplacer("&lt;", "<", "&gt;", ">", "&amp;", "&", "&quot;", `"`, "&apos;", "'")

// text returns the text of the element that has just begun.
func (s *xmlScanner) text() string {
	if s.next() != nil {
		s.err = errNotPlain
		return ""
	}
	switch {
	case bytes.IndexByte(s.before, '\r') >= 0, bytes.Contains(s.before, []byte("&#")):
		s.err = errNotPlain
		return ""
	case bytes.IndexByte(s.before, '&') >= 0:
		return xmlEntities.Replace(string(s.before))
	}
	return string(s.before)
}

func (s *xmlScanner) pointer() *string {
	text := s.text()
	return &text
}

func (s *xmlScanner) int() *int32 {
	n, err := strconv.ParseInt(s.text(), 10, 32)
	if err != nil && s.err == nil {
		s.err = err
	}
	return new(int32(n))
}

func (s *xmlScanner) time() *time.Time {
	t, err := smithytime.ParseDateTime(s.text())
	if err != nil && s.err == nil {
		s.err = err
	}
	return &t
}
