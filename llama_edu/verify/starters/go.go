// An engine to be written: the protocol is here, the stages are yours (standard library only).
//
//	go build -o engine engine.go
//	llama-edu verify --program ./engine
//
// Name an op in ops once it is written; until then the kit does not ask for it. The stages are the
// book's chapters: bytes (op tensor), forward, cache, tokens (encode, decode), sampling
// (probabilities).
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
)

var ops = []string{} // of "tensor", "forward", "encode", "decode", "probabilities"

var errNotWritten = errors.New("not written yet")

type request struct {
	Op          string    `json:"op"`
	Name        string    `json:"name"`
	IDs         []int     `json:"ids"`
	Past        int       `json:"past"`
	Text        string    `json:"text"`
	Logits      []float32 `json:"logits"`
	Temperature float32   `json:"temperature"`
	TopK        int       `json:"top_k"`
	TopP        float32   `json:"top_p"`
}

type engine struct {
	config map[string]any
}

// load reads the model. An error ends the program, and its text is what the report shows.
func load(directory string) (*engine, error) {
	text, err := os.ReadFile(filepath.Join(directory, "config.json"))
	if err != nil {
		return nil, err
	}
	e := &engine{}
	return e, json.Unmarshal(text, &e.config)
}

// tensor is chapter 1: the shape of a tensor, and its numbers as float32, row after row.
func (e *engine) tensor(name string) ([]int, []float32, error) {
	return nil, nil, errNotWritten
}

// forward is chapters 3 to 10: keep the first past cached positions, feed the ids, and give the
// logits after the last one.
func (e *engine) forward(ids []int, past int) ([]float32, error) {
	return nil, errNotWritten
}

// encode is chapter 2: text to ids.
func (e *engine) encode(text string) ([]int, error) {
	return nil, errNotWritten
}

// decode is chapter 2: ids to text; bytes that are no UTF-8 become U+FFFD.
func (e *engine) decode(ids []int) (string, error) {
	return "", errNotWritten
}

// probabilities is chapter 11: temperature (0 is greedy), then top-k (0 is all), then top-p (1 is
// all).
func (e *engine) probabilities(logits []float32, temperature float32, topK int, topP float32) ([]float32, error) {
	return nil, errNotWritten
}

func (e *engine) answer(r request) (any, error) {
	switch r.Op {
	case "hello":
		return map[string]any{"name": "my engine", "protocol": 1, "ops": ops}, nil
	case "tensor":
		shape, values, err := e.tensor(r.Name)
		return map[string]any{"shape": shape, "values": values}, err
	case "forward":
		logits, err := e.forward(r.IDs, r.Past)
		for _, x := range logits {
			if math.IsNaN(float64(x)) || math.IsInf(float64(x), 0) {
				return nil, errors.New("logits are not finite")
			}
		}
		return map[string]any{"logits": logits}, err
	case "encode":
		ids, err := e.encode(r.Text)
		return map[string]any{"ids": ids}, err
	case "decode":
		text, err := e.decode(r.IDs)
		return map[string]any{"text": text}, err
	case "probabilities":
		p, err := e.probabilities(r.Logits, r.Temperature, r.TopK, r.TopP)
		return map[string]any{"probabilities": p}, err
	}
	return nil, fmt.Errorf("no op called %q", r.Op)
}

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "expected the directory of a model")
		os.Exit(2)
	}
	e, err := load(os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, err) // standard output is for answers alone
		os.Exit(1)
	}
	in := bufio.NewReaderSize(os.Stdin, 1<<20)
	out := bufio.NewWriter(os.Stdout)
	for {
		line, err := in.ReadBytes('\n')
		if err != nil {
			return
		}
		var r request
		var reply any
		if err = json.Unmarshal(line, &r); err == nil {
			reply, err = e.answer(r)
		}
		if err != nil {
			reply = map[string]string{"error": err.Error()} // an answer to every request
		}
		text, err := json.Marshal(reply)
		if err != nil {
			text, _ = json.Marshal(map[string]string{"error": err.Error()})
		}
		out.Write(append(text, '\n'))
		if out.Flush() != nil {
			return
		}
	}
}
