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

// ---- JSON: what configs, headers, tokenizers and requests are written in --------------------

struct Json {
    enum Kind { Null, Bool, Number, Text, List, Object } kind = Null;
    bool flag = false;
    double number = 0;
    string text;
    std::vector<Json> items;  // of a list; the values of an object
    std::vector<string> names;

    // A field of an object; null where there is none.
    const Json& operator[](const string& name) const {
        static const Json none;
        for (size_t i = 0; i < names.size(); ++i)
            if (names[i] == name) return items[i];
        return none;
    }

    bool is(const string& word) const { return kind == Text && text == word; }

    // A whole number from 0 on.
    std::optional<size_t> size() const {
        if (kind != Number || number < 0 || number > 9e15 || number != std::floor(number)) return {};
        return static_cast<size_t>(number);
    }
};

class Parser {
public:
    static Json parse(const string& text) {
        Parser parser(text);
        Json value = parser.value();
        parser.skip();
        if (parser.at_ < text.size()) parser.fault("the end");
        return value;
    }

private:
    explicit Parser(const string& text) : text_(text) {}

    [[noreturn]] void fault(const string& expected) const {
        refuse("expected " + expected + " in the JSON at byte " + std::to_string(at_));
    }
    char here() const { return at_ < text_.size() ? text_[at_] : '\0'; }
    void skip() { while (at_ < text_.size() && std::strchr(" \t\r\n", here()) && here()) ++at_; }
    void take(char wanted, const char* name) {
        if (here() != wanted) fault(name);
        ++at_;
    }
    bool word(const char* word) {
        if (text_.compare(at_, std::strlen(word), word) != 0) return false;
        at_ += std::strlen(word);
        return true;
    }

    Json value() {
        if (++depth_ > 100) fault("at most 100 levels");
        skip();
        Json value;
        if (here() == '{') object(value);
        else if (here() == '[') list(value);
        else if (here() == '"') { value.kind = Json::Text; value.text = quoted(); }
        else if (word("true")) { value.kind = Json::Bool; value.flag = true; }
        else if (word("false")) value.kind = Json::Bool;
        else if (!word("null")) number(value);
        --depth_;
        return value;
    }

    void number(Json& value) {
        size_t end = text_.find_first_not_of("-+.eE0123456789", at_);
        const string digits = text_.substr(at_, end == string::npos ? end : end - at_);
        std::istringstream in(digits);
        in.imbue(std::locale::classic());
        if (digits.empty() || !(in >> value.number) || in.peek() != EOF) fault("a value");
        value.kind = Json::Number;
        at_ += digits.size();
    }

    void list(Json& value) {
        value.kind = Json::List;
        take('[', "a list");
        skip();
        if (here() == ']') { ++at_; return; }
        for (;;) {
            value.items.push_back(this->value());
            skip();
            if (here() == ']') { ++at_; return; }
            take(',', "a comma or the end of a list");
        }
    }

    void object(Json& value) {
        value.kind = Json::Object;
        take('{', "an object");
        skip();
        if (here() == '}') { ++at_; return; }
        for (;;) {
            skip();
            value.names.push_back(quoted());
            skip();
            take(':', "a colon");
            value.items.push_back(this->value());
            skip();
            if (here() == '}') { ++at_; return; }
            take(',', "a comma or the end of an object");
        }
    }

    string quoted() {
        string out;
        take('"', "a text");
        while (here() != '"') {
            if (at_ >= text_.size()) fault("the end of a text");
            if (here() != '\\') { out += text_[at_++]; continue; }
            ++at_;
            const char escaped = here();
            ++at_;
            switch (escaped) {
                case 'n': out += '\n'; break;
                case 't': out += '\t'; break;
                case 'r': out += '\r'; break;
                case 'b': out += '\b'; break;
                case 'f': out += '\f'; break;
                case 'u': put_utf8(out, escape()); break;
                default: out += escaped;
            }
        }
        ++at_;
        return out;
    }

    // The character of \uXXXX, or of two that stand for one beyond 16 bits.
    uint32_t escape() {
        uint32_t code = four();
        if (code >= 0xD800 && code < 0xDC00 && text_.compare(at_, 2, "\\u") == 0) {
            at_ += 2;
            return 0x10000 + ((code - 0xD800) << 10) + (four() & 0x3FF);
        }
        return code >= 0xD800 && code < 0xE000 ? 0xFFFD : code;
    }

    uint32_t four() {
        uint32_t code = 0;
        const char* start = text_.data() + std::min(at_, text_.size());
        const char* stop = start + std::min<size_t>(4, text_.size() - std::min(at_, text_.size()));
        if (std::from_chars(start, stop, code, 16).ptr != start + 4) fault("four digits");
        at_ += 4;
        return code;
    }

public:
    static void put_utf8(string& out, uint32_t code) {
        if (code < 0x80) { out += char(code); return; }
        const int more = code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
        out += char(((0xF0 << (3 - more)) & 0xFF) | (code >> (6 * more)));
        for (int i = more - 1; i >= 0; --i) out += char(0x80 | (code >> (6 * i) & 0x3F));
    }

private:
    const string& text_;
    size_t at_ = 0;
    int depth_ = 0;
};

string quoted(const string& text) {
    static const char* hex = "0123456789abcdef";
    string out = "\"";
    for (const char c : text) {
        if (c == '"' || c == '\\') (out += '\\') += c;
        else if (static_cast<unsigned char>(c) >= 0x20) out += c;
        else (((out += "\\u00") += hex[c >> 4]) += hex[c & 15]);
    }
    return out + '"';
}

// A float with as many digits as it takes to read the same one back.
string written(float x) {
    char buffer[32];
    return string(buffer, std::to_chars(buffer, buffer + sizeof buffer, x).ptr);
}
string written(size_t x) { return std::to_string(x); }
string written(const string& x) { return x; }

template <class T>
string listed(const std::vector<T>& items) {
    string out = "[";
    for (size_t i = 0; i < items.size(); ++i) out += (i ? "," : "") + written(items[i]);
    return out + "]";
}

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

// ---- Protocol 1: an answer for every line, whatever happens ---------------------------------

Ids ids_of(const Json& request) {
    Ids ids;
    for (const Json& id : request["ids"].items) {
        if (!id.size()) refuse("expected ids as whole numbers");
        ids.push_back(*id.size());
    }
    return ids;
}

void check_finite(const Floats& numbers, const string& told) {
    for (const float x : numbers)
        if (!std::isfinite(x)) refuse(told);
}

string answer(Engine& engine, const string& line) {
    const Json request = Parser::parse(line);
    const string op = request["op"].text;
    if (op == "hello") {
        std::vector<string> ops;
        for (const string& one : OPS) ops.push_back(quoted(one));
        return "{\"name\":" + quoted(NAME) + ",\"protocol\":1,\"ops\":" + listed(ops) + "}";
    }
    if (op == "tensor") {
        std::vector<size_t> shape;
        const Floats values = engine.tensor(request["name"].text, shape);
        return "{\"shape\":" + listed(shape) + ",\"values\":" + listed(values) + "}";
    }
    if (op == "forward") {
        const Floats logits = engine.forward(ids_of(request), request["past"].size().value_or(0));
        check_finite(logits, "logits are not finite");
        return "{\"logits\":" + listed(logits) + "}";
    }
    if (op == "encode") return "{\"ids\":" + listed(engine.encode(request["text"].text)) + "}";
    if (op == "decode") return "{\"text\":" + quoted(engine.decode(ids_of(request))) + "}";
    if (op == "stream") {
        std::vector<string> pieces;
        for (const string& piece : engine.stream(ids_of(request))) pieces.push_back(quoted(piece));
        return "{\"pieces\":" + listed(pieces) + "}";
    }
    if (op == "probabilities") {
        const auto number = [&](const char* name) {
            return request[name].kind == Json::Number ? float(request[name].number) : 1.0f;
        };
        Floats logits;
        for (const Json& x : request["logits"].items)
            logits.push_back(x.kind == Json::Number ? float(x.number) : NAN);
        if (logits.empty()) refuse("expected logits");
        check_finite(logits, "expected finite logits");
        const Floats p = engine.probabilities(logits, number("temperature"),
                                              request["top_k"].size().value_or(0), number("top_p"));
        return "{\"probabilities\":" + listed(p) + "}";
    }
    if (op == "chat") {
        std::vector<Message> messages;
        for (const Json& m : request["messages"].items)
            messages.emplace_back(m["role"].text, m["content"].text);
        return "{\"ids\":" + listed(engine.chat(messages)) + "}";
    }
    refuse("expected an op of " + listed(OPS) + ", got " + quoted(op));
}

int main(int argc, char** argv) {
    if (argc != 2) {
        std::cerr << "expected the directory of a model\n";
        return 2;
    }
    try {
        Engine engine(argv[1]);
        for (string line; std::getline(std::cin, line);) {
            try {
                std::cout << answer(engine, line) << std::endl;
            } catch (const std::exception& problem) {
                std::cout << "{\"error\":" << quoted(problem.what()) << "}" << std::endl;
            }
        }
    } catch (const std::exception& problem) {
        std::cerr << problem.what() << "\n";  // standard output is for answers alone
        return 1;
    }
}
