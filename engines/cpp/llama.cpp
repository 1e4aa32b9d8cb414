// A Llama in one file of C++17 and nothing but its standard library.
//
//     g++ -std=c++17 -O3 engines/cpp/llama.cpp -o llama
//     ./llama MODEL_DIRECTORY
//
// It reads a model directory as Hugging Face lays it out and answers protocol 1: one line of JSON
// for each line of JSON. The parts stand in the order of the book's chapters.

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <iostream>
#include <map>
#include <numeric>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <string>
#include <unordered_map>
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

// ---- Bytes: chapter 1 -----------------------------------------------------------------------

float bits_to_float(uint32_t bits) {
    float x;
    std::memcpy(&x, &bits, sizeof x);
    return x;
}

float bf16_to_float(uint16_t bits) { return bits_to_float(uint32_t(bits) << 16); }

// 1 bit of sign, 5 of exponent, 10 of mantissa. Exponent 0 has no leading 1, 31 is ∞ or NaN.
float f16_to_float(uint16_t bits) {
    const float sign = bits >> 15 ? -1.0f : 1.0f;
    const int exponent = bits >> 10 & 31;
    const float mantissa = float(bits & 1023);
    if (exponent == 0) return sign * std::ldexp(mantissa, -24);
    if (exponent == 31) return mantissa == 0 ? sign * INFINITY : NAN;
    return sign * std::ldexp(1 + mantissa / 1024, exponent - 15);
}

string read_file(const string& path) {
    std::ifstream in(path, std::ios::binary);
    if (!in) refuse(path + ": expected a readable file");
    std::ostringstream out;
    out << in.rdbuf();
    return out.str();
}

bool exists(const string& path) { return bool(std::ifstream(path)); }

// The tensors of a model directory, found by name; their bytes as they lie in the files.
class Checkpoint {
public:
    explicit Checkpoint(const string& directory) {
        const string single = directory + "/model.safetensors", index = single + ".index.json";
        if (exists(single) || !exists(index)) { add(single); return; }
        const Json map = Parser::parse(read_file(index))["weight_map"];
        std::map<string, bool> shards;
        for (const Json& file : map.items) shards[file.text] = true;
        for (const auto& [name, _] : shards) {
            if (name.find_first_of("/\\") != string::npos) refuse("expected a file beside the index");
            add(directory + "/" + name);
        }
    }

    // A tensor in float32, whatever it is stored as.
    Floats tensor(const string& name, std::vector<size_t>* shape = nullptr) const {
        const auto found = entries_.find(name);
        if (found == entries_.end()) refuse("expected a tensor " + name);
        const Entry& entry = found->second;
        if (shape) *shape = entry.shape;
        const size_t width = entry.dtype == "F32" ? 4 : 2;
        const char* bytes = files_[entry.file].data() + entry.start;
        Floats out((entry.end - entry.start) / width);
        for (size_t i = 0; i < out.size(); ++i) {
            uint32_t bits = 0;  // little-endian, on whatever machine
            for (size_t b = 0; b < width; ++b) bits |= uint32_t(uint8_t(bytes[i * width + b])) << (8 * b);
            out[i] = entry.dtype == "F32" ? bits_to_float(bits)
                     : entry.dtype == "BF16" ? bf16_to_float(uint16_t(bits))
                                             : f16_to_float(uint16_t(bits));
        }
        return out;
    }

    Floats shaped(const string& name, const std::vector<size_t>& wanted) const {
        std::vector<size_t> shape;
        Floats data = tensor(name, &shape);
        if (shape != wanted) refuse(name + ": expected another shape");
        return data;
    }

    bool has(const string& name) const { return entries_.count(name) > 0; }

private:
    struct Entry {
        string dtype;
        std::vector<size_t> shape;
        size_t file, start, end;  // bytes from the start of the file
    };

    // 8 bytes of length, so many bytes of JSON, and the data; offsets count from its start.
    void add(const string& path) {
        string bytes = read_file(path);
        uint64_t length = 0;
        if (bytes.size() < 8) refuse(path + ": expected at least 8 bytes");
        for (int i = 0; i < 8; ++i) length |= uint64_t(uint8_t(bytes[i])) << (8 * i);
        if (length > bytes.size() - 8) refuse(path + ": expected a header within the file");
        const size_t data = 8 + length;
        const Json header = Parser::parse(bytes.substr(8, length));
        std::vector<std::pair<size_t, size_t>> spans;
        for (size_t i = 0; i < header.names.size(); ++i) {
            if (header.names[i] == "__metadata__") continue;  // notes for people: no tensor
            Entry entry = read(header.items[i], data, path + ": " + header.names[i]);
            spans.emplace_back(entry.start, entry.end);
            entries_[header.names[i]] = entry;
        }
        std::sort(spans.begin(), spans.end());
        size_t end = data;
        for (const auto& [start, stop] : spans) {
            if (start != end) refuse(path + ": expected tensors side by side");
            end = stop;
        }
        if (end != bytes.size()) refuse(path + ": expected as many bytes as the header says");
        files_.push_back(std::move(bytes));
    }

    Entry read(const Json& json, size_t data, const string& where) const {
        Entry entry{json["dtype"].text, {}, files_.size(), 0, 0};
        const std::map<string, size_t> widths = {{"F32", 4}, {"F16", 2}, {"BF16", 2}};
        if (!widths.count(entry.dtype)) refuse(where + ": expected F32, F16 or BF16");
        size_t count = widths.at(entry.dtype);
        for (const Json& size : json["shape"].items) {
            if (!size.size() || *size.size() > (size_t(1) << 40)) refuse(where + ": expected sizes");
            entry.shape.push_back(*size.size());
            count *= *size.size();
        }
        const auto& offsets = json["data_offsets"].items;
        if (offsets.size() != 2 || !offsets[0].size() || !offsets[1].size())
            refuse(where + ": expected two offsets");
        entry.start = data + *offsets[0].size();
        entry.end = data + *offsets[1].size();
        if (entry.end < entry.start || entry.end - entry.start != count)
            refuse(where + ": expected a shape that fills its bytes");
        return entry;
    }

    std::vector<string> files_;
    std::unordered_map<string, Entry> entries_;
};

// ---- Text to ids, and back: chapter 2 -------------------------------------------------------

// One character of UTF-8 and how many bytes it takes; U+FFFD for bytes that are none, and then the
// length of what was broken: as much as could still have become a character.
std::pair<uint32_t, size_t> character(const string& text, size_t at) {
    const auto byte = [&](size_t i) { return i < text.size() ? uint8_t(text[i]) : 0; };
    const uint8_t first = byte(at);
    if (first < 0x80) return {first, 1};
    if (first < 0xC2 || first > 0xF4) return {0xFFFD, 1};
    const size_t more = first < 0xE0 ? 1 : first < 0xF0 ? 2 : 3;
    const uint8_t low = first == 0xE0 ? 0xA0 : first == 0xF0 ? 0x90 : 0x80;
    const uint8_t high = first == 0xED ? 0x9F : first == 0xF4 ? 0x8F : 0xBF;
    uint32_t code = first & (0x3F >> more);
    for (size_t i = 1; i <= more; ++i) {
        const uint8_t next = byte(at + i);
        if (next < (i == 1 ? low : 0x80) || next > (i == 1 ? high : 0xBF)) return {0xFFFD, i};
        code = code << 6 | (next & 0x3F);
    }
    return {code, more + 1};
}

// Whether the bytes from `at` on, the last there are, may still become a character.
bool unfinished(const string& text, size_t at) {
    const uint8_t first = uint8_t(text[at]);
    const size_t whole = first < 0xC2 || first > 0xF4 ? 1 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
    const size_t length = character(text, at).second;
    return at + length == text.size() && length < whole;
}

// Whole characters as they become whole; what is left waits for its other bytes.
string push(string& waiting, const string& token) {
    waiting += token;
    string out;
    size_t at = 0;
    while (at < waiting.size() && !unfinished(waiting, at)) {
        const auto [code, length] = character(waiting, at);
        Parser::put_utf8(out, code);
        at += length;
    }
    waiting.erase(0, at);
    return out;
}

string repaired(const string& bytes) {
    string out;
    for (size_t at = 0; at < bytes.size();) {
        const auto [code, length] = character(bytes, at);
        Parser::put_utf8(out, code);
        at += length;
    }
    return out;
}

enum class Kind { Letter, Number, Blank, Other };

// The classes of GPT-2's rule: exact for Latin, and by blocks beyond it. The standard library has
// no table of Unicode; a block that is not named here counts as letters.
Kind kind(uint32_t c) {
    const auto within = [&](uint32_t first, uint32_t last) { return c >= first && c <= last; };
    if (c == ' ' || within(9, 13) || c == 0x85 || c == 0xA0 || c == 0x1680 || within(0x2000, 0x200A) ||
        c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000)
        return Kind::Blank;
    if (within('0', '9') || c == 0xB2 || c == 0xB3 || c == 0xB9 || within(0xBC, 0xBE) ||
        within(0x660, 0x669) || within(0x966, 0x96F) || within(0x2460, 0x249B) || within(0xFF10, 0xFF19))
        return Kind::Number;
    if (within('A', 'Z') || within('a', 'z') || c == 0xAA || c == 0xB5 || c == 0xBA) return Kind::Letter;
    if (c < 0xC0 || c == 0xD7 || c == 0xF7 || within(0x300, 0x36F) || within(0x2000, 0x2BFF) ||
        within(0x3001, 0x3004) || within(0x3008, 0x3030) || within(0xFE00, 0xFE6F) ||
        within(0xFF01, 0xFF20) || within(0x1F000, 0x1FAFF) || within(0xE0000, 0xE0FFF))
        return Kind::Other;
    return Kind::Letter;
}

// 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
std::vector<string> split_words(const string& text) {
    const auto run = [&](size_t from, Kind wanted) {  // where characters of this kind end
        while (from < text.size()) {
            const auto [code, length] = character(text, from);
            if (kind(code) != wanted) break;
            from += length;
        }
        return from;
    };
    std::vector<string> words;
    for (size_t at = 0; at < text.size();) {
        size_t end = at;
        for (const char* ending : {"'s", "'t", "'re", "'ve", "'m", "'ll", "'d"})
            if (end == at && text.compare(at, std::strlen(ending), ending) == 0)
                end = at + std::strlen(ending);
        if (end == at) {
            const size_t lead = text[at] == ' ' ? 1 : 0;  // a space goes with the word after it
            const bool more = at + lead < text.size();
            const Kind wanted = more ? kind(character(text, at + lead).first) : Kind::Blank;
            if (wanted != Kind::Blank) {
                end = run(at + lead, wanted);
            } else {
                end = run(at, Kind::Blank);
                size_t last = end - 1;  // where the last blank begins
                while (last > at && (uint8_t(text[last]) & 0xC0) == 0x80) --last;
                if (end < text.size() && last > at) end = last;  // it goes with the word after
            }
        }
        words.push_back(text.substr(at, end - at));
        at = end;
    }
    return words;
}

class Tokenizer {
public:
    // Byte-level BPE as in the book's own models, GPT-2 and their like. Others are refused.
    explicit Tokenizer(const string& directory) {
        const Json json = Parser::parse(read_file(directory + "/tokenizer.json"));
        const Json& model = json["model"];
        if (!json["pre_tokenizer"]["type"].is("ByteLevel"))
            refuse("expected a byte-level tokenizer cut by GPT-2's rule");
        const auto letters = letter_bytes();
        const Json& vocab = model["vocab"];
        for (size_t i = 0; i < vocab.names.size(); ++i) {
            const string piece = spelled(vocab.names[i], letters);
            const size_t id = vocab.items[i].size().value();
            ids_[piece] = id;
            bytes_[id] = piece;
        }
        for (const Json& token : json["added_tokens"].items) {
            const size_t id = token["id"].size().value();
            special_[token["content"].text] = id;
            ids_.erase(token["content"].text);  // nobody can type it
            bytes_[id] = token["content"].text;
        }
        for (const Json& merge : model["merges"].items) {
            string a, b;
            if (merge.kind == Json::Text) {
                const size_t space = merge.text.find(' ');
                a = merge.text.substr(0, space);
                b = merge.text.substr(space + 1);
            } else {
                a = merge.items.at(0).text;
                b = merge.items.at(1).text;
            }
            ranks_.emplace(std::make_pair(spelled(a, letters), spelled(b, letters)), ranks_.size());
        }
        for (const Json& part : json["post_processor"]["single"].items) {
            if (part["SpecialToken"].kind == Json::Null) break;
            opening_.push_back(special_.at(part["SpecialToken"]["id"].text));
        }
    }

    Ids encode(const string& text) const {
        Ids ids = opening_;
        append_plain(ids, text);
        return ids;
    }

    // The bytes of an id; nothing for a control token.
    string shown(size_t id) const {
        const auto found = bytes_.find(id);
        if (found == bytes_.end()) refuse("expected an id of a token, got " + std::to_string(id));
        return is_special(id) ? string() : found->second;
    }

    string decode(const Ids& ids) const {
        string bytes;
        for (const size_t id : ids) bytes += shown(id);
        return repaired(bytes);
    }

    // A conversation as ChatML writes it, up to where the reply begins. Only here do control tokens
    // come from; one that a person typed is spelled out, byte by byte.
    Ids chat(const std::vector<Message>& messages) const {
        const auto control = [&](const char* text) {
            const auto found = special_.find(text);
            if (found == special_.end()) refuse(string("expected a model that knows ") + text);
            return found->second;
        };
        const size_t start = control("<|im_start|>"), end = control("<|im_end|>");
        Ids ids;
        for (const auto& [role, content] : messages) {
            ids.push_back(start);
            append_typed(ids, role + "\n" + content);
            ids.push_back(end);
            append_plain(ids, "\n");
        }
        ids.push_back(start);
        append_plain(ids, "assistant\n");
        return ids;
    }

private:
    // GPT-2's alphabet, turned around: from the letter a vocabulary shows to its byte.
    static std::map<uint32_t, char> letter_bytes() {
        std::map<uint32_t, char> letters;
        uint32_t next = 0x100;
        for (uint32_t b = 0; b < 256; ++b) {
            const bool printable = (b >= 0x21 && b <= 0x7E) || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE;
            letters[printable ? b : next++] = char(b);
        }
        return letters;
    }

    static string spelled(const string& token, const std::map<uint32_t, char>& letters) {
        string bytes;
        for (size_t at = 0; at < token.size();) {
            const auto [code, length] = character(token, at);
            const auto found = letters.find(code);
            if (found == letters.end()) return token;  // a control token, not made of letters
            bytes += found->second;
            at += length;
        }
        return bytes;
    }

    // Join the pair of lowest rank, the leftmost of several, until none is known.
    std::vector<string> encode_word(const string& word) const {
        std::vector<string> pieces;
        for (const char byte : word) pieces.emplace_back(1, byte);
        for (;;) {
            size_t best = ranks_.size(), where = 0;
            for (size_t i = 0; i + 1 < pieces.size(); ++i) {
                const auto found = ranks_.find({pieces[i], pieces[i + 1]});
                if (found != ranks_.end() && found->second < best) {
                    best = found->second;
                    where = i;
                }
            }
            if (best == ranks_.size()) return pieces;
            pieces[where] += pieces[where + 1];
            pieces.erase(pieces.begin() + where + 1);
        }
    }

    // Ids of a text as a person typed it: `<|im_end|>` is ten characters.
    void append_plain(Ids& ids, const string& text) const {
        for (const string& word : split_words(text))
            for (const string& piece : encode_word(word)) {
                const auto found = ids_.find(piece);
                if (found != ids_.end()) ids.push_back(found->second);
            }
    }

    // The same, with every control token in it spelled out.
    void append_typed(Ids& ids, const string& text) const {
        size_t first = string::npos;
        string token;
        for (const auto& [name, id] : special_)
            if (const size_t at = text.find(name); at < first) {
                first = at;
                token = name;
            }
        append_plain(ids, text.substr(0, first));
        if (first == string::npos) return;
        for (const char byte : token)
            if (const auto found = ids_.find(string(1, byte)); found != ids_.end())
                ids.push_back(found->second);
        append_typed(ids, text.substr(first + token.size()));
    }

    bool is_special(size_t id) const {
        return std::any_of(special_.begin(), special_.end(), [&](auto& s) { return s.second == id; });
    }

    std::unordered_map<string, size_t> ids_;
    std::unordered_map<size_t, string> bytes_;
    std::map<std::pair<string, string>, size_t> ranks_;
    std::map<string, size_t> special_;
    Ids opening_;
};

// ---- Products: chapter 3 --------------------------------------------------------------------

// Sixteen sums at once: a compiler may not reorder one sum of floats, but it may keep sixteen.
float dot(const float* a, const float* b, size_t n) {
    float sums[16] = {};
    size_t i = 0;
    for (; i + 16 <= n; i += 16)
        for (size_t s = 0; s < 16; ++s) sums[s] += a[i + s] * b[i + s];
    float total = 0;
    for (; i < n; ++i) total += a[i] * b[i];
    for (const float sum : sums) total += sum;
    return total;
}

// C = beta * C + A Bᵀ     a: (m, k)   b: (n, k)   c: (m, n)
void matmul_transb(float* c, float beta, const float* a, const float* b, size_t m, size_t n, size_t k) {
    for (size_t j = 0; j < n; ++j)
        for (size_t i = 0; i < m; ++i) {
            float& out = c[i * n + j];
            out = (beta == 0 ? 0 : beta * out) + dot(a + i * k, b + j * k, k);
        }
}

// A linear layer: weight (n_out, n_in), and a bias where the checkpoint has one.
struct Linear {
    Floats weight, bias;
    size_t n_out = 0, n_in = 0;

    // y = beta * y + x Wᵀ + b
    void write(Floats& y, float beta, const Floats& x) const {
        const size_t seq = x.size() / n_in;
        y.resize(seq * n_out);
        matmul_transb(y.data(), beta, x.data(), weight.data(), seq, n_out, n_in);
        for (size_t i = 0; i < y.size() && !bias.empty(); ++i) y[i] += bias[i % n_out];
    }

    Floats operator()(const Floats& x) const {
        Floats y;
        write(y, 0, x);
        return y;
    }
};

// ---- The config: a field is read, has a default, or is refused ------------------------------

struct Config {
    size_t vocab, hidden, inter, layers, n_heads, n_kv_heads, head_dim, max_seq;
    float eps;
    double theta;
    Json scaling;  // null, or the fields of a "linear" or "llama3" scaling
    bool tied, attention_bias, mlp_bias;

    static string kind_of(const Json& rope) {
        for (const char* name : {"rope_type", "type"})
            if (rope[name].kind == Json::Text) return rope[name].text;
        return "default";
    }

    explicit Config(const Json& json) {
        const auto size = [&](const char* name, size_t missing = 0) {
            const size_t given = json[name].size().value_or(missing);
            if (given == 0) refuse(string("expected ") + name);
            return given;
        };
        const auto flag = [&](const char* name) { return json[name].flag; };
        //       field                          what a missing one means
        vocab = size("vocab_size");          // refused
        hidden = size("hidden_size");        // refused
        inter = size("intermediate_size");   // refused
        layers = size("num_hidden_layers");  // refused
        n_heads = size("num_attention_heads");
        n_kv_heads = size("num_key_value_heads", n_heads);
        head_dim = size("head_dim", hidden / n_heads);
        max_seq = size("max_position_embeddings");
        tied = flag("tie_word_embeddings");       // false
        attention_bias = flag("attention_bias");  // false
        mlp_bias = flag("mlp_bias");              // false
        if (json["rms_norm_eps"].kind != Json::Number) refuse("expected rms_norm_eps");
        eps = float(json["rms_norm_eps"].number);
        theta = 10000;  // unless one of three places has it
        for (const Json* rope : {&json["rope_scaling"], &json["rope_parameters"]}) {
            if ((*rope)["rope_theta"].kind == Json::Number) theta = (*rope)["rope_theta"].number;
            if (kind_of(*rope) != "default") scaling = *rope;
        }
        if (json["rope_theta"].kind == Json::Number) theta = json["rope_theta"].number;
        refuse_others(json);
    }

    // Fields with one value that this engine computes; a missing one has it.
    void refuse_others(const Json& json) const {
        const auto null = [&](const char* name) { return json[name].kind == Json::Null; };
        if (!json["model_type"].is("llama") && !json["model_type"].is("mistral"))
            refuse("expected model_type llama or mistral");
        if (!null("hidden_act") && !json["hidden_act"].is("silu")) refuse("expected hidden_act silu");
        for (const char* name : {"sliding_window", "quantization_config"})
            if (!null(name)) refuse(string("expected no ") + name);
        for (const char* name : {"pretraining_tp", "partial_rotary_factor"})
            if (!null(name) && json[name].number != 1) refuse(string("expected 1 for ") + name);
        const string kind = kind_of(scaling);
        if (kind != "default" && kind != "linear" && kind != "llama3")
            refuse("expected rope_type default, linear or llama3, got " + kind);
        if (n_heads % n_kv_heads || head_dim % 2) refuse("expected whole groups and an even head_dim");
    }
};

// ---- Scores, mask and softmax, values: chapters 4 to 6 --------------------------------------

// q: (seq, n_heads * head_dim)   keys, values: (past + seq, n_kv_heads * head_dim)   out: like q
//
// One query of one head at a time: its scores over the keys it may see, their softmax, and the
// mixture of as many values. What it may not see is never computed, so there is nothing to mask.
Floats attention(const Floats& q, const Floats& keys, const Floats& values, size_t past, const Config& c) {
    const size_t head_dim = c.head_dim, n_groups = c.n_heads / c.n_kv_heads;
    const size_t q_width = c.n_heads * head_dim, kv_width = c.n_kv_heads * head_dim, seq = q.size() / q_width;
    const float scale = 1 / std::sqrt(float(head_dim));
    Floats out(q.size(), 0.0f), scores(past + seq);
    for (size_t i = 0; i < seq; ++i)
        for (size_t head = 0; head < c.n_heads; ++head) {
            const size_t kv = head / n_groups;
            const float* query = &q[i * q_width + head * head_dim];
            const size_t seen = past + i + 1;  // itself, and everything before it
            float largest = -INFINITY, total = 0;
            for (size_t j = 0; j < seen; ++j) {
                scores[j] = dot(query, &keys[j * kv_width + kv * head_dim], head_dim) * scale;
                largest = std::max(largest, scores[j]);
            }
            for (size_t j = 0; j < seen; ++j) {
                scores[j] = std::exp(scores[j] - largest);
                total += scores[j];
            }
            float* row = &out[i * q_width + head * head_dim];
            for (size_t j = 0; j < seen; ++j) {
                const float weight = scores[j] / total;
                const float* value = &values[j * kv_width + kv * head_dim];
                for (size_t d = 0; d < head_dim; ++d) row[d] += weight * value[d];
            }
        }
    return out;
}

// ---- RoPE: chapter 7 ------------------------------------------------------------------------

// The angle each pair turns per position: computed in double, rounded once.
Floats inverse_frequencies(const Config& c) {
    const string kind = Config::kind_of(c.scaling);
    const auto field = [&](const char* name) {
        if (c.scaling[name].kind != Json::Number) refuse(string("expected ") + name);
        return c.scaling[name].number;
    };
    Floats inv_freq(c.head_dim / 2);
    for (size_t j = 0; j < inv_freq.size(); ++j) {
        double turn = std::pow(c.theta, -2.0 * j / c.head_dim);
        if (kind == "linear") turn /= field("factor");
        if (kind == "llama3") {
            // 1 for pairs that turn often within the trained context, 0 for the slow ones.
            const double wavelength = 2 * 3.14159265358979323846 / turn;
            const double turns = field("original_max_position_embeddings") / wavelength;
            const double low = field("low_freq_factor"), high = field("high_freq_factor");
            const double keep = std::clamp((turns - low) / (high - low), 0.0, 1.0);
            turn = keep * turn + (1 - keep) * turn / field("factor");
        }
        inv_freq[j] = float(turn);
    }
    return inv_freq;
}

// x: (seq, n_heads * head_dim), turned where it lies
void rope(Floats& x, size_t past, size_t n_heads, size_t head_dim, const Floats& inv_freq) {
    const size_t half = head_dim / 2, width = n_heads * head_dim;
    for (size_t i = 0; i * width < x.size(); ++i)
        for (size_t j = 0; j < half; ++j) {
            const size_t position = past + i;
            const float angle = float(position) * inv_freq[j];
            const float cos = std::cos(angle), sin = std::sin(angle);
            for (size_t head = 0; head < n_heads; ++head) {
                float* h = &x[i * width + head * head_dim];
                const size_t one = j, two = j + half;
                const float a = h[one], b = h[two];  // both, before either is written
                h[one] = a * cos - b * sin;
                h[two] = b * cos + a * sin;
            }
        }
}

// ---- Norm and gate: chapter 8 ---------------------------------------------------------------

// x, y: (seq, hidden)
Floats rms_norm(const Floats& x, const Floats& weight, float eps) {
    const size_t hidden = weight.size();
    Floats y(x.size());
    for (size_t row = 0; row < x.size(); row += hidden) {
        const float squares = dot(&x[row], &x[row], hidden);
        const float size = std::sqrt(squares / hidden + eps);
        for (size_t i = 0; i < hidden; ++i) y[row + i] = weight[i] * (x[row + i] / size);
    }
    return y;
}

// gate, up: (seq, inter); the result takes the place of gate
void swiglu(Floats& gate, const Floats& up) {
    for (size_t i = 0; i < gate.size(); ++i) {
        const float g = gate[i], u = up[i];
        gate[i] = g / (1 + std::exp(-g)) * u;
    }
}

// ---- The cache: chapter 10 ------------------------------------------------------------------

// Per layer, rows of keys (after RoPE) and values by position. The first `len` of them count.
struct KvCache {
    std::vector<Floats> keys, values;  // (rows, n_kv_heads * head_dim)
    size_t len = 0, width = 0;

    explicit KvCache(const Config& c) : keys(c.layers), values(c.layers), width(c.n_kv_heads * c.head_dim) {}

    // Write new rows at row `len`, over whatever lies there.
    void append(size_t layer, const Floats& k, const Floats& v) {
        write(keys[layer], k);
        write(values[layer], v);
    }

    // Forget every position from `length` on.
    void truncate(size_t length) { len = std::min(len, length); }

private:
    void write(Floats& rows, const Floats& added) {
        const size_t start = len * width;
        rows.resize(start + added.size());
        std::copy(added.begin(), added.end(), rows.begin() + start);
    }
};

// ---- The whole model: chapter 9 -------------------------------------------------------------

struct Layer {
    Floats input_layernorm, post_attention_layernorm;
    Linear q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj;
};

class Llama {
public:
    Config config;

    Llama(const string& directory, const Checkpoint& file)
        : config(Parser::parse(read_file(directory + "/config.json"))),
          inv_freq_(inverse_frequencies(config)) {
        const Config& c = config;
        const size_t q_width = c.n_heads * c.head_dim, kv_width = c.n_kv_heads * c.head_dim;
        for (size_t i = 0; i < c.layers; ++i) {
            const string at = "model.layers." + std::to_string(i) + ".";
            const auto norm = [&](const char* name) {
                return file.shaped(at + name + ".weight", {c.hidden});
            };
            const auto linear = [&](const char* name, size_t n_out, size_t n_in, bool bias) {
                return Linear{file.shaped(at + name + ".weight", {n_out, n_in}),
                              bias ? file.shaped(at + name + ".bias", {n_out}) : Floats(), n_out, n_in};
            };
            layers_.push_back({norm("input_layernorm"), norm("post_attention_layernorm"),
                               linear("self_attn.q_proj", q_width, c.hidden, c.attention_bias),
                               linear("self_attn.k_proj", kv_width, c.hidden, c.attention_bias),
                               linear("self_attn.v_proj", kv_width, c.hidden, c.attention_bias),
                               linear("self_attn.o_proj", c.hidden, q_width, c.attention_bias),
                               linear("mlp.gate_proj", c.inter, c.hidden, c.mlp_bias),
                               linear("mlp.up_proj", c.inter, c.hidden, c.mlp_bias),
                               linear("mlp.down_proj", c.hidden, c.inter, c.mlp_bias)});
        }
        // A tied table may be stored under either name.
        const string embed = "model.embed_tokens.weight", head = "lm_head.weight";
        embed_tokens_ = file.shaped(c.tied && !file.has(embed) ? head : embed, {c.vocab, c.hidden});
        if (!c.tied) lm_head_ = file.shaped(head, {c.vocab, c.hidden});
        norm_ = file.shaped("model.norm.weight", {c.hidden});
    }

    // Logits after the last id. The ids continue what the cache holds, and join it.
    Floats forward(const Ids& ids, KvCache& cache) const {
        const Config& c = config;
        const size_t past = cache.len;
        Floats x;  // (seq, hidden), the residual stream
        for (const size_t id : ids) {
            const float* row = &embed_tokens_[id * c.hidden];
            x.insert(x.end(), row, row + c.hidden);
        }
        for (size_t l = 0; l < layers_.size(); ++l) {
            const Layer& w = layers_[l];
            Floats h = rms_norm(x, w.input_layernorm, c.eps);
            Floats q = w.q_proj(h), k = w.k_proj(h), v = w.v_proj(h);
            rope(q, past, c.n_heads, c.head_dim, inv_freq_);
            rope(k, past, c.n_kv_heads, c.head_dim, inv_freq_);
            // v is never turned
            cache.append(l, k, v);
            const Floats mixed = attention(q, cache.keys[l], cache.values[l], past, c);
            w.o_proj.write(x, 1, mixed);  // beta = 1: the residual

            h = rms_norm(x, w.post_attention_layernorm, c.eps);
            Floats gate = w.gate_proj(h), up = w.up_proj(h);
            swiglu(gate, up);
            w.down_proj.write(x, 1, gate);
        }
        cache.len += ids.size();  // once, after the last layer
        Floats last(x.end() - c.hidden, x.end());
        last = rms_norm(last, norm_, c.eps);
        const Floats& head = c.tied ? embed_tokens_ : lm_head_;
        Floats logits(c.vocab);
        matmul_transb(logits.data(), 0, last.data(), head.data(), 1, c.vocab, c.hidden);
        return logits;
    }

private:
    std::vector<Layer> layers_;
    Floats embed_tokens_, lm_head_, norm_, inv_freq_;
};

// ---- Sampling: chapter 11 -------------------------------------------------------------------

// What a draw is made from: temperature, then top-k, then top-p. 0 for every token that was cut.
Floats probabilities(const Floats& logits, float temperature, size_t top_k, float top_p) {
    std::vector<size_t> order(logits.size());
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(),
                     [&](size_t a, size_t b) { return logits[a] > logits[b]; });
    Floats result(logits.size(), 0.0f);
    if (temperature == 0) {
        result[order[0]] = 1;
        return result;
    }
    if (top_k > 0 && top_k < order.size()) order.resize(top_k);
    const float largest = logits[order[0]];
    float sum = 0;
    for (const size_t id : order) sum += result[id] = std::exp((logits[id] - largest) / temperature);
    float reached = 0, kept = 0;
    for (const size_t id : order) {
        const bool enough = top_p < 1 && reached >= top_p;  // the token that crossed it is kept
        reached += result[id] / sum;
        if (enough) result[id] = 0;
        kept += result[id];
    }
    for (float& p : result) p /= kept;
    return result;
}

// ---- The engine -----------------------------------------------------------------------------

const string NAME = "llama.cpp of the book";
const std::vector<string> OPS = {"tensor", "forward", "encode", "decode",
                                 "stream", "probabilities", "chat"};

class Engine {
public:
    explicit Engine(const string& directory)
        : file_(directory), model_(directory, file_), cache_(model_.config) {
        try {
            tokenizer_.emplace(directory);
        } catch (const std::exception& problem) {  // it still answers forward
            no_tokenizer_ = problem.what();
        }
    }

    Floats tensor(const string& name, std::vector<size_t>& shape) { return file_.tensor(name, &shape); }

    Floats forward(const Ids& ids, size_t past) {
        const Config& c = model_.config;
        for (const size_t id : ids)
            if (id >= c.vocab) refuse("expected ids below " + std::to_string(c.vocab));
        if (ids.empty() || past > cache_.len || past + ids.size() > c.max_seq)
            refuse("expected ids that fit, after a past that is cached");
        cache_.truncate(past);
        return model_.forward(ids, cache_);
    }

    Ids encode(const string& text) { return tokenizer().encode(text); }
    string decode(const Ids& ids) { return tokenizer().decode(ids); }

    std::vector<string> stream(const Ids& ids) {
        string waiting;
        std::vector<string> pieces;
        for (const size_t id : ids) pieces.push_back(push(waiting, tokenizer().shown(id)));
        pieces.push_back(repaired(waiting));  // what never became whole
        return pieces;
    }

    Floats probabilities(const Floats& logits, float temperature, size_t top_k, float top_p) {
        return ::probabilities(logits, temperature, top_k, top_p);
    }

    Ids chat(const std::vector<Message>& messages) { return tokenizer().chat(messages); }

private:
    const Tokenizer& tokenizer() const {
        if (!tokenizer_) refuse(no_tokenizer_);
        return *tokenizer_;
    }

    Checkpoint file_;
    Llama model_;
    KvCache cache_;
    std::optional<Tokenizer> tokenizer_;
    string no_tokenizer_;
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
