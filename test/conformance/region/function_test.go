package region

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"testing"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-lambda-go/lambda"
)

// asFunction in the environment makes this program the function of a journey.
const asFunction = "CONFORMANCE_FUNCTION"

func TestMain(m *testing.M) {
	if os.Getenv(asFunction) != "" {
		lambda.Start(answerStack)
		return
	}
	os.Exit(m.Run())
}

// functionCode is a package for Lambda that runs this program, in base64.
func functionCode(t *testing.T) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return zipped(t, map[string]string{"bootstrap": fmt.Sprintf("#!/bin/sh\n%s=1 exec '%s'\n", asFunction, self)})
}

// buildSource is a source for CodeBuild that makes an image with one file.
func buildSource(t *testing.T) string {
	t.Helper()
	return zipped(t, map[string]string{
		"buildspec.yml": "version: 0.2\nphases:\n  build: {commands: [docker build -t $REPOSITORY:one .]}\n  post_build: {commands: [docker push $REPOSITORY:one]}\n",
		"Dockerfile":    "FROM busybox\nCOPY run /opt/run\nENTRYPOINT [\"/opt/run\"]\n",
		"run":           "#!/bin/sh\n",
	})
}

// zipped is an archive of programs, in base64.
func zipped(t *testing.T, files map[string]string) string {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for name, text := range files {
		header := &zip.FileHeader{Name: name, Method: zip.Deflate}
		header.SetMode(0o755)
		w, err := z.CreateHeader(header)
		if err == nil {
			_, err = io.WriteString(w, text)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return base64Prefix + base64.StdEncoding.EncodeToString(b.Bytes())
}

// A stackEvent is what CloudFormation asks of a custom resource.
type stackEvent struct {
	RequestType, ResponseURL, StackId, RequestId, LogicalResourceId, PhysicalResourceId string
	ResourceProperties                                                                  struct {
		Word   string
		Nested struct{ Number, Yes string } // CloudFormation makes all scalars texts
	}
}

// answerStack makes custom resources named after their word. Events come from
// CloudFormation itself or inside those of a topic.
func answerStack(ctx context.Context, raw json.RawMessage) error {
	var told events.SNSEvent
	if err := json.Unmarshal(raw, &told); err == nil && len(told.Records) > 0 {
		raw = json.RawMessage(told.Records[0].SNS.Message)
	}
	var e stackEvent
	if err := json.Unmarshal(raw, &e); err != nil {
		return err
	}
	word := e.ResourceProperties.Word
	fmt.Println(e.RequestType, e.PhysicalResourceId)
	answer := map[string]any{
		"Status": "SUCCESS", "StackId": e.StackId, "RequestId": e.RequestId, "LogicalResourceId": e.LogicalResourceId,
		"PhysicalResourceId": "thing-" + word,
		"Data": map[string]string{
			"Answer": e.RequestType + " " + word,
			"Nested": e.ResourceProperties.Nested.Number + " " + e.ResourceProperties.Nested.Yes,
		},
	}
	switch {
	case e.RequestType == "Delete":
		answer["PhysicalResourceId"] = e.PhysicalResourceId
	case word == "fail":
		answer["Status"], answer["Reason"] = "FAILED", "asked to fail"
	}
	body, err := json.Marshal(answer)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, e.ResponseURL, bytes.NewReader(body))
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	if bundle, err := os.ReadFile(os.Getenv("AWS_CA_BUNDLE")); err == nil {
		roots.AppendCertsFromPEM(bundle)
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("the answer is refused: %s", resp.Status)
	}
	return nil
}
