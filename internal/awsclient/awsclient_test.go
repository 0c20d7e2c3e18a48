package awsclient

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
)

// quick is a client that has the answer before it has looked for the end of the request.
type quick func(*http.Request) error

func (q quick) Do(r *http.Request) (*http.Response, error) {
	if err := q(r); err != nil {
		return nil, err
	}
	body := `<DeleteVolumeResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><return>true</return></DeleteVolumeResponse>`
	return &http.Response{StatusCode: 200, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body)), Request: r}, nil
}

func TestBodiesEndOnceTheyAreClosed(t *testing.T) {
	sends := 0
	client := ec2.NewFromConfig(aws.Config{
		Region: "us-east-1", Credentials: credentials.NewStaticCredentialsProvider("AKIATEST", "secret", ""), APIOptions: Options,
		HTTPClient: quick(func(r *http.Request) error {
			text := make([]byte, r.ContentLength)
			if _, err := io.ReadFull(r.Body, text); err != nil {
				return err
			}
			if sends++; sends == 1 {
				return errors.New("connection reset by peer") // is repeated, with the same body
			}
			if want := "VolumeId=vol-1"; !strings.Contains(string(text), want) {
				t.Errorf("the body is %s, without %s", text, want)
			}
			if err := r.Body.Close(); err != nil {
				return err
			}
			// As net/http does, which must not see anything but the end.
			if n, err := io.Copy(io.Discard, r.Body); n != 0 || err != nil {
				t.Errorf("after the end: %d bytes, %v", n, err)
			}
			if w, ok := r.Body.(io.WriterTo); ok {
				if _, err := w.WriteTo(io.Discard); err != nil {
					t.Errorf("after the end: %v", err)
				}
			}
			return nil
		}),
	})
	if _, err := client.DeleteVolume(t.Context(), &ec2.DeleteVolumeInput{VolumeId: aws.String("vol-1")}); err != nil {
		t.Fatal(err)
	}
	if sends != 2 {
		t.Errorf("the request was sent %d times", sends)
	}
}
