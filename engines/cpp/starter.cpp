// An engine to be written: the protocol is here, the stages are yours (C++17).
//
//     g++ -std=c++17 -O2 engine.cpp -o engine
//     llama-edu verify --program ./engine
//
// Name an op in OPS once it is written; until then the kit does not ask for it. The stages are the
// book's chapters: bytes (op `tensor`), tokens (`encode`, `decode`, `stream`), forward and cache
// (`forward`), sampling (`probabilities`), chat.

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <iostream>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

using std::size_t;
using std::string;
using Floats = std::vector<float>;
using Ids = std::vector<size_t>;
using Message = std::pair<string, string>;  // role and content

[[noreturn]] void refuse(const string& why) { throw std::runtime_error(why); }

// from llama.cpp: JSON

// ---- The engine -----------------------------------------------------------------------------

const string NAME = "my engine";
// The ops that are written, of the seven below.
const std::vector<string> OPS = {};

class Engine {
public:
    // Read the model. An exception ends the program, and its text is what the report shows.
    explicit Engine(const string& directory) : directory_(directory) {}

    // Chapter 1: the shape of a tensor, and its numbers as float32, row after row.
    Floats tensor(const string& name, std::vector<size_t>&) {
        refuse("not written yet: " + name + " of " + directory_);
    }

    // Chapters 3 to 10: keep the first `past` cached positions, feed the ids, and give the logits
    // after the last one.
    Floats forward(const Ids&, size_t) { refuse("not written yet"); }

    // Chapter 2: text to ids.
    Ids encode(const string&) { refuse("not written yet"); }

    // Chapter 2: ids to text; bytes that are no UTF-8 become U+FFFD.
    string decode(const Ids&) { refuse("not written yet"); }

    // Chapter 2: what is shown after each id, whole characters only, and at last what is left.
    std::vector<string> stream(const Ids&) { refuse("not written yet"); }

    // Chapter 11: temperature (0 is greedy), then top-k (0 is all), then top-p (1 is all).
    Floats probabilities(const Floats&, float, size_t, float) { refuse("not written yet"); }

    // Chapter 13: roles and contents to ids, up to where the reply begins.
    Ids chat(const std::vector<Message>&) { refuse("not written yet"); }

private:
    string directory_;
};

// from llama.cpp: Protocol 1
