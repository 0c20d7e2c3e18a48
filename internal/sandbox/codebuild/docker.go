package codebuild

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/codebuild/types"

	"pcluster/internal/sandbox/ecr"
)

// An engine follows the commands of one build.
type engine struct {
	service   *Service
	build     *types.Build
	source    string
	variables map[string]string
	images    map[string]*made // by name
}

// made is an image that a build has made.
type made struct {
	image ecr.Image
	files string // directory of the files that are copied into it
}

// learn sets the variables of a build: those of the project go above the buildspec's.
func (e *engine) learn(region string, plan spec) {
	maps.Copy(e.variables, plan.Env.Variables)
	for _, name := range []string{"AWS_REGION", "AWS_DEFAULT_REGION"} {
		e.variables[name] = region
	}
	e.variables["CODEBUILD_BUILD_ID"], e.variables["CODEBUILD_SRC_DIR"] = *e.build.Id, e.source
	for _, v := range e.build.Environment.EnvironmentVariables {
		e.variables[aws.ToString(v.Name)] = aws.ToString(v.Value)
	}
}

func (e *engine) say(format string, args ...any) {
	e.service.log(e.build, fmt.Sprintf(format, args...))
}

// command does what a command of the buildspec would, or refuses it.
func (e *engine) command(line string) error {
	words, err := split(line, func(name string) string { return e.variables[name] })
	if err != nil {
		return err
	}
	if len(words) < 2 {
		return e.refuse()
	}
	pipe := slices.Index(words, "|")
	switch {
	case pipe > 0 && slices.Equal(words[:min(3, pipe)], []string{"aws", "ecr", "get-login-password"}) && len(words) > pipe+2 && words[pipe+1] == "docker" && words[pipe+2] == "login":
		if err := e.service.may(e.build, "ecr:GetAuthorizationToken", "*"); err != nil {
			return err
		}
		e.say("Images stay in this sandbox: there is nothing to log in to.")
		return nil
	case slices.ContainsFunc(words, func(w string) bool { return slices.Contains([]string{"|", "&&", "||", ";", "&", ">", "<"}, w) }):
		return e.refuse()
	case words[0] == "echo":
		e.say("%s", strings.Join(words[1:], " "))
		return nil
	case words[0] == "docker" && words[1] == "build":
		return e.dockerBuild(words[2:])
	case words[0] == "docker" && words[1] == "tag" && len(words) == 4:
		v := e.images[words[2]]
		if v == nil {
			return fmt.Errorf("No such image: %s", words[2])
		}
		e.images[words[3]] = v
		return nil
	case words[0] == "docker" && words[1] == "push" && len(words) == 3:
		return e.push(words[2])
	}
	return e.refuse()
}

func (e *engine) refuse() error {
	return errors.New("this sandbox has no container that could run it: builds consist of docker build, docker tag, docker push, and echo")
}

// split splits a command line into words as a shell does, with variables filled in.
// Operators between words are words of their own.
func split(line string, variable func(string) string) (words []string, err error) {
	var word strings.Builder
	inWord, quote := false, byte(0)
	end := func() {
		if inWord {
			words = append(words, word.String())
		}
		word.Reset()
		inWord = false
	}
	for i := 0; i < len(line); i++ {
		c := line[i]
		switch {
		case quote == '\'' && c != '\'', quote == 0 && c == '\\' && i+1 < len(line):
			if c == '\\' && quote == 0 {
				i++
				c = line[i]
			}
			word.WriteByte(c)
			inWord = true
		case c == quote:
			quote = 0
		case quote == 0 && (c == '\'' || c == '"'):
			quote, inWord = c, true
		case c == '`', c == '$' && i+1 < len(line) && line[i+1] == '(':
			return nil, errors.New("command substitution is not part of this sandbox")
		case c == '$':
			rest := line[i+1:]
			name, length := "", 0
			if strings.HasPrefix(rest, "{") {
				n, _, ok := strings.Cut(rest[1:], "}")
				if !ok {
					return nil, errors.New("a brace is not closed")
				}
				name, length = n, len(n)+2
			} else {
				length = len(rest)
				if k := strings.IndexFunc(rest, func(r rune) bool {
					return r != '_' && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
				}); k >= 0 {
					length = k
				}
				name = rest[:length]
			}
			word.WriteString(variable(name))
			inWord = true
			i += length
		case quote == 0 && (c == ' ' || c == '\t' || c == '\n'):
			end()
		case quote == 0 && strings.IndexByte("|&;<>", c) >= 0:
			end()
			op := string(c)
			if i+1 < len(line) && line[i+1] == c {
				op += string(c)
				i++
			}
			words = append(words, op)
		default:
			word.WriteByte(c)
			inWord = true
		}
	}
	if quote != 0 {
		return nil, errors.New("a quotation mark is not closed")
	}
	end()
	return words, nil
}

// dockerBuild makes an image of a Dockerfile.
func (e *engine) dockerBuild(args []string) error {
	var tags []string
	file, folder := "", ""
	arguments := map[string]string{}
	for i := 0; i < len(args); i++ {
		name, value, assigned := strings.Cut(args[i], "=")
		if !strings.HasPrefix(name, "-") {
			if folder != "" {
				return errors.New("docker build takes one context")
			}
			folder = args[i]
			continue
		}
		if !assigned {
			if i++; i == len(args) {
				return fmt.Errorf("%s has no value", name)
			}
			value = args[i]
		}
		switch name {
		case "-t", "--tag":
			tags = append(tags, value)
		case "-f", "--file":
			file = value
		case "--build-arg":
			k, v, _ := strings.Cut(value, "=")
			arguments[k] = v
		case "--platform":
		default:
			return fmt.Errorf("docker build %s is not part of this sandbox", name)
		}
	}
	if folder == "" || !filepath.IsLocal(folder) {
		return fmt.Errorf("docker build needs a context inside of the source, not %q", folder)
	}
	context := filepath.Join(e.source, folder)
	dockerfile := filepath.Join(context, "Dockerfile")
	if file != "" {
		if !filepath.IsLocal(file) {
			return fmt.Errorf("%s leads out of the source", file)
		}
		dockerfile = filepath.Join(e.source, file)
	}
	text, err := os.ReadFile(dockerfile)
	if err != nil {
		return fmt.Errorf("unable to read Dockerfile: %w", err)
	}
	files, err := os.MkdirTemp(filepath.Dir(e.source), "image-")
	if err != nil {
		return err
	}
	v := &made{files: files, image: ecr.Image{Environment: map[string]string{}}}
	for _, step := range instructions(string(text)) {
		if err := e.instruction(v, context, step, arguments); err != nil {
			return fmt.Errorf("%s: %w", step, err)
		}
	}
	for _, tag := range tags {
		e.images[tag] = v
	}
	return nil
}

// instructions returns the instructions of a Dockerfile, each on a line.
func instructions(text string) (out []string) {
	open := ""
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "#") || line == "" {
			continue
		}
		if rest, more := strings.CutSuffix(line, `\`); more {
			open += strings.TrimSpace(rest) + " "
			continue
		}
		out = append(out, open+line)
		open = ""
	}
	if open != "" {
		out = append(out, strings.TrimSpace(open))
	}
	return out
}

// instruction follows an instruction of a Dockerfile.
func (e *engine) instruction(v *made, context, line string, arguments map[string]string) error {
	kind, rest, _ := strings.Cut(line, " ")
	rest = strings.TrimSpace(rest)
	value := func(name string) string {
		if s, ok := v.image.Environment[name]; ok {
			return s
		}
		return arguments[name]
	}
	switch strings.ToUpper(kind) {
	case "FROM":
		if strings.Contains(strings.ToUpper(rest), " AS ") {
			return errors.New("stages are not part of this sandbox")
		}
		e.say("Not used: %s", line)
	case "RUN":
		e.say("Not run: %s", line)
	case "LABEL", "EXPOSE", "MAINTAINER":
	case "ARG":
		name, otherwise, _ := strings.Cut(rest, "=")
		if _, given := arguments[name]; !given {
			arguments[name] = otherwise
		}
	case "ENV":
		words, err := split(rest, value)
		if err != nil {
			return err
		}
		for _, w := range words {
			k, s, ok := strings.Cut(w, "=")
			if !ok {
				return errors.New("write variables as NAME=VALUE")
			}
			v.image.Environment[k] = s
		}
	case "WORKDIR":
		v.image.Directory = path.Join("/", v.image.Directory, os.Expand(rest, value))
		if path.IsAbs(rest) {
			v.image.Directory = path.Clean(os.Expand(rest, value))
		}
	case "ENTRYPOINT", "CMD":
		words := []string{"/bin/sh", "-c", rest}
		if strings.HasPrefix(rest, "[") {
			words = nil
			if err := json.Unmarshal([]byte(rest), &words); err != nil {
				return err
			}
		}
		if strings.EqualFold(kind, "CMD") {
			v.image.Command = words
		} else {
			v.image.Entrypoint = words
		}
	case "COPY":
		words, err := split(rest, value)
		if err != nil {
			return err
		}
		return copyInto(v, context, words)
	default:
		return errors.New("the instruction is not part of this sandbox")
	}
	return nil
}

// copyInto copies files of a context into an image.
func copyInto(v *made, context string, words []string) error {
	if len(words) < 2 || strings.HasPrefix(words[0], "--") {
		return errors.New("COPY has files and a place for them, and no options, in this sandbox")
	}
	place := words[len(words)-1]
	into := path.Clean("/" + place)
	if !path.IsAbs(place) {
		into = path.Join("/", v.image.Directory, place)
	}
	for _, source := range words[:len(words)-1] {
		if !filepath.IsLocal(source) {
			return fmt.Errorf("%s is outside of the build context", source)
		}
		from := filepath.Join(context, source)
		info, err := os.Stat(from)
		if err != nil {
			return fmt.Errorf("%s is not in the build context", source)
		}
		target := filepath.Join(v.files, into)
		if info.IsDir() {
			if err := os.CopyFS(target, os.DirFS(from)); err != nil {
				return err
			}
			continue
		}
		if strings.HasSuffix(place, "/") || len(words) > 2 {
			target = filepath.Join(target, filepath.Base(source))
		}
		data, err := os.ReadFile(from)
		if err != nil {
			return err
		}
		if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(target, data, info.Mode().Perm()); err != nil {
			return err
		}
	}
	return nil
}

// push puts an image into the account's registry.
func (e *engine) push(name string) error {
	v := e.images[name]
	if v == nil {
		return fmt.Errorf("An image does not exist locally with the tag: %s", name)
	}
	where, ok := strings.CutPrefix(name, e.service.cfg.Images.Registry()+"/")
	if !ok {
		return fmt.Errorf("%s is not a name of this account's registry, %s", name, e.service.cfg.Images.Registry())
	}
	repository, tag, ok := strings.Cut(where, ":")
	if !ok {
		tag = "latest"
	}
	// What docker asks ECR for with a push. (Amazon ECR User Guide: Required IAM permissions for pushing an image.)
	for _, action := range []string{"BatchCheckLayerAvailability", "InitiateLayerUpload", "UploadLayerPart", "CompleteLayerUpload", "PutImage"} {
		if err := e.service.may(e.build, "ecr:"+action, e.service.id.ARN("ecr", "repository/"+repository)); err != nil {
			return fmt.Errorf("denied: %w", err)
		}
	}
	digest, err := v.digest()
	if err != nil {
		return err
	}
	e.say("%s: digest: %s", tag, digest)
	return e.service.cfg.Images.Push(repository, tag, digest, v.image, v.files)
}

// digest stands for all that is in an image.
func (v *made) digest() (string, error) {
	sum := sha256.New()
	if err := json.NewEncoder(sum).Encode(v.image); err != nil {
		return "", err
	}
	err := filepath.WalkDir(v.files, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		data, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(v.files, p)
		fmt.Fprintf(sum, "%s %o %d\n", name, info.Mode(), len(data))
		sum.Write(data)
		return err
	})
	return "sha256:" + hex.EncodeToString(sum.Sum(nil)), err
}
