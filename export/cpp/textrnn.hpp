// Runs textrnn bundles in C++17 with onnxruntime: generates and scores text, classifies, predicts and forecasts.
//
//     textrnn::Model model("bundle");
//     std::string text = model.generate("ROMEO:", options);
//
// It needs the standard library and onnxruntime 1.13 or later, by its C interface. README.md has the build.
//
// The same bundle, prompt, options and seed give the text of the Python package. All functions of a model are const,
// and several threads may call them at once. All text is UTF-8. Every failure throws `textrnn::Error`: the rule, what
// was received, what to do.

#ifndef TEXTRNN_HPP
#define TEXTRNN_HPP

#include <onnxruntime_c_api.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <limits>
#include <locale>
#include <memory>
#include <mutex>
#include <numeric>
#include <optional>
#include <queue>
#include <random>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

namespace textrnn {

// A failure that the caller or the bundle caused. `what()` is one line: the rule, what was received, what to do.
class Error : public std::runtime_error {
    using std::runtime_error::runtime_error;
};

using Ids = std::vector<std::int32_t>;

constexpr std::int32_t PAD_ID = 0, UNKNOWN_ID = 1, BEGINNING_ID = 2, END_ID = 3;

namespace detail {

inline constexpr std::array<const char*, 4> SPECIAL_TOKENS = {"<pad>", "<unk>", "<s>", "</s>"};
inline constexpr const char* REPLACEMENT = "\xEF\xBF\xBD";  // U+FFFD
constexpr double INFINITE = std::numeric_limits<double>::infinity();

template <class... Parts>
std::string joined(const Parts&... parts) {
    std::ostringstream out;
    out.imbue(std::locale::classic());
    (out << ... << parts);
    return out.str();
}

template <class... Parts>
[[noreturn]] void fail(const Parts&... parts) {
    throw Error(joined(parts...));
}

// Return a path for messages. In C++20, u8string() is another type.
inline std::string as_utf8(const std::filesystem::path& path) {
    const auto text = path.u8string();
    return std::string(text.begin(), text.end());
}

// Return a size as shapes and distances of iterators need it.
constexpr std::int64_t to_signed(std::size_t size) { return static_cast<std::int64_t>(size); }

// ---------------------------------------------------------------------------------------------------------- JSON

// A value of JSON. Whole numbers are kept apart from others, because a manifest requires them.
class Json {
public:
    using Array = std::vector<Json>;
    using Object = std::vector<std::pair<std::string, Json>>;

    Json() = default;
    template <class T>
    explicit Json(T value) : value_(std::move(value)) {}

    // Parse a document. `place` names it in messages.
    static Json parse(std::string_view text, const std::string& place);

    bool is_null() const { return std::holds_alternative<std::nullptr_t>(value_); }
    template <class T>
    const T* get() const {
        return std::get_if<T>(&value_);
    }

    // Return a member of an object, or null if there is none.
    const Json* find(std::string_view name) const {
        const auto* object = get<Object>();
        if (!object) return nullptr;
        const auto named = [name](const auto& member) { return member.first == name; };
        const auto found = std::find_if(object->rbegin(), object->rend(), named);  // the last of a name, as in Python
        return found == object->rend() ? nullptr : &found->second;
    }

    // Return a member of a type; throw an Error that names `place` and the member if there is none.
    template <class T>
    const T& at(std::string_view name, const std::string& place) const {
        const Json* member = find(name);
        const T* value = member ? member->get<T>() : nullptr;
        if (!value) {
            fail(place, ": ", name, " must be ", type_name<T>(), ", it ", member ? "is another value" : "is missing",
                 "; export the bundle again");
        }
        return *value;
    }

    template <class T>
    static const char* type_name() {
        if constexpr (std::is_same_v<T, std::string>) return "a string";
        if constexpr (std::is_same_v<T, bool>) return "true or false";
        if constexpr (std::is_same_v<T, std::int64_t>) return "a whole number";
        if constexpr (std::is_same_v<T, double>) return "a number with a point";
        if constexpr (std::is_same_v<T, Array>) return "a list";
        return "an object";
    }

private:
    std::variant<std::nullptr_t, bool, std::int64_t, double, std::string, Array, Object> value_ = nullptr;
};

inline void append_utf8(std::string& out, std::uint32_t code) {
    const auto put = [&out](std::uint32_t byte) { out.push_back(static_cast<char>(byte)); };
    if (code < 0x80) {
        put(code);
    } else if (code < 0x800) {
        put(0xC0 | code >> 6), put(0x80 | (code & 63));
    } else if (code < 0x10000) {
        put(0xE0 | code >> 12), put(0x80 | (code >> 6 & 63)), put(0x80 | (code & 63));
    } else {
        put(0xF0 | code >> 18), put(0x80 | (code >> 12 & 63)), put(0x80 | (code >> 6 & 63)), put(0x80 | (code & 63));
    }
}

inline std::size_t first_invalid(std::string_view text);

class JsonParser {
public:
    JsonParser(std::string_view text, const std::string& place) : text_(text), place_(place) {}

    Json document() {
        if (const auto bad = first_invalid(text_); bad != std::string_view::npos) position_ = bad, invalid("UTF-8");
        Json value = this->value(0);
        blanks();
        if (position_ != text_.size()) invalid("the end");
        return value;
    }

private:
    static constexpr int DEEPEST = 64;

    [[noreturn]] void invalid(const char* expected) const {
        fail(place_, " must be JSON, expected ", expected, " at byte ", position_, "; copy or export the bundle again");
    }

    void blanks() {
        while (position_ < text_.size() && std::strchr(" \t\r\n", text_[position_]) && text_[position_]) ++position_;
    }

    bool accept(char wanted) {
        blanks();
        if (position_ >= text_.size() || text_[position_] != wanted) return false;
        ++position_;
        return true;
    }

    Json value(int depth) {
        if (depth > DEEPEST) invalid("fewer levels");
        blanks();
        const std::string_view rest = text_.substr(position_);
        if (rest.empty()) invalid("a value");
        const auto is_word = [&](std::string_view word) {
            if (rest.substr(0, word.size()) != word) return false;
            position_ += word.size();
            return true;
        };
        if (is_word("null")) return Json(nullptr);
        if (is_word("true")) return Json(true);
        if (is_word("false")) return Json(false);
        if (rest[0] == '"') return Json(string());
        if (accept('[')) {
            Json::Array items;
            if (accept(']')) return Json(std::move(items));
            do items.push_back(value(depth + 1));
            while (accept(','));
            if (!accept(']')) invalid("]");
            return Json(std::move(items));
        }
        if (accept('{')) {
            Json::Object members;
            if (accept('}')) return Json(std::move(members));
            do {
                blanks();
                std::string name = string();
                if (!accept(':')) invalid(":");
                members.emplace_back(std::move(name), value(depth + 1));
            } while (accept(','));
            if (!accept('}')) invalid("}");
            return Json(std::move(members));
        }
        return number();
    }

    Json number() {
        const std::size_t begin = position_;
        const auto digits = [this] {
            const std::size_t first = position_;
            while (position_ < text_.size() && text_[position_] >= '0' && text_[position_] <= '9') ++position_;
            if (position_ == first) invalid("a value");
        };
        const auto next_is = [this](const char* any) {
            return position_ < text_.size() && text_[position_] && std::strchr(any, text_[position_]);
        };
        bool whole = true;
        if (next_is("-")) ++position_;
        digits();
        if (next_is(".")) whole = false, ++position_, digits();
        if (next_is("eE")) {
            whole = false, ++position_;
            if (next_is("+-")) ++position_;
            digits();
        }
        std::istringstream in{std::string(text_.substr(begin, position_ - begin))};
        in.imbue(std::locale::classic());
        std::int64_t integer = 0;
        if (whole && in >> integer) return Json(integer);
        in.clear(), in.seekg(0);
        double real = 0;
        in >> real;  // too large a number becomes the largest; what reads it checks its range
        return Json(real);
    }

    std::uint32_t hexadecimal() {
        std::uint32_t code = 0;
        for (int i = 0; i < 4; ++i, ++position_) {
            const char digit = position_ < text_.size() ? text_[position_] : '\0';
            const char* found = digit ? std::strchr("0123456789abcdefABCDEF", digit) : nullptr;
            if (!found) invalid("a hexadecimal digit");
            const auto index = static_cast<std::uint32_t>(found - "0123456789abcdefABCDEF");
            code = code * 16 + (index < 16 ? index : index - 6);
        }
        return code;
    }

    std::string string() {
        if (position_ >= text_.size() || text_[position_] != '"') invalid("a string");
        std::string out;
        for (++position_;;) {
            if (position_ >= text_.size()) invalid("the end of a string");
            const char c = text_[position_++];
            if (c == '"') return out;
            if (static_cast<unsigned char>(c) < 0x20) invalid("no control character");
            if (c != '\\') {
                out.push_back(c);
                continue;
            }
            const char escape = position_ < text_.size() ? text_[position_++] : '\0';
            if (escape == 'u') {
                std::uint32_t code = hexadecimal();
                if (code >= 0xD800 && code < 0xDC00 && text_.substr(position_, 2) == "\\u") {
                    position_ += 2;
                    const std::uint32_t low = hexadecimal();
                    if (low < 0xDC00 || low > 0xDFFF) invalid("a low surrogate");
                    code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
                }
                if (code >= 0xD800 && code <= 0xDFFF) invalid("no lone surrogate");
                append_utf8(out, code);
                continue;
            }
            const auto found = std::string_view("\"\\/bfnrt").find(escape);
            if (found == std::string_view::npos) invalid("an escape");
            out.push_back("\"\\/\b\f\n\r\t"[found]);
        }
    }

    std::string_view text_;
    const std::string& place_;
    std::size_t position_ = 0;
};

inline Json Json::parse(std::string_view text, const std::string& place) { return JsonParser(text, place).document(); }

// -------------------------------------------------------------------------------------------------------- SHA-256

class Sha256 {
public:
    void add(const char* data, std::size_t size) {
        length_ += size;
        while (size) {
            const std::size_t part = std::min(size, block_.size() - filled_);
            std::memcpy(block_.data() + filled_, data, part);
            filled_ += part, data += part, size -= part;
            if (filled_ == block_.size()) digest_block();
        }
    }

    std::string hex() {
        const std::uint64_t bits = length_ * 8;
        add("\x80", 1);
        while (filled_ != 56) add("", 1);
        for (int i = 7; i >= 0; --i) {
            const char byte = static_cast<char>(bits >> (8 * i));
            add(&byte, 1);
        }
        std::string out;
        for (const std::uint32_t word : hash_) {
            for (int shift = 28; shift >= 0; shift -= 4) out.push_back("0123456789abcdef"[word >> shift & 15]);
        }
        return out;
    }

private:
    static constexpr std::uint32_t rotated(std::uint32_t x, int n) { return x >> n | x << (32 - n); }

    void digest_block() {
        static constexpr std::array<std::uint32_t, 64> K = {
            0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
            0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
            0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
            0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
            0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
            0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
            0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
            0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};
        std::array<std::uint32_t, 64> w;
        for (std::size_t i = 0; i < 16; ++i) {
            w[i] = 0;
            for (std::size_t j = 0; j < 4; ++j) w[i] = w[i] << 8 | static_cast<unsigned char>(block_[4 * i + j]);
        }
        for (std::size_t i = 16; i < 64; ++i) {
            const auto a = w[i - 15], b = w[i - 2];
            w[i] = w[i - 16] + w[i - 7] + (rotated(a, 7) ^ rotated(a, 18) ^ a >> 3) +
                   (rotated(b, 17) ^ rotated(b, 19) ^ b >> 10);
        }
        auto [a, b, c, d, e, f, g, h] = hash_;
        for (std::size_t i = 0; i < 64; ++i) {
            const auto t = h + (rotated(e, 6) ^ rotated(e, 11) ^ rotated(e, 25)) + ((e & f) ^ (~e & g)) + K[i] + w[i];
            const auto u = (rotated(a, 2) ^ rotated(a, 13) ^ rotated(a, 22)) + ((a & b) ^ (a & c) ^ (b & c));
            h = g, g = f, f = e, e = d + t, d = c, c = b, b = a, a = t + u;
        }
        const std::array<std::uint32_t, 8> sums = {a, b, c, d, e, f, g, h};
        for (std::size_t i = 0; i < 8; ++i) hash_[i] += sums[i];
        filled_ = 0;
    }

    std::array<std::uint32_t, 8> hash_ = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                          0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    std::array<char, 64> block_{};
    std::size_t filled_ = 0;
    std::uint64_t length_ = 0;
};

inline std::string sha256(std::string_view data) {
    Sha256 hash;
    hash.add(data.data(), data.size());
    return hash.hex();
}

// ---------------------------------------------------------------------------------------------------------- UTF-8

enum class Sequence { valid, invalid, incomplete };

// Return what `text`, which is not empty, begins with, and its length: a character, or the longest part of one, at
// least a byte. These are the parts that Python's decoder replaces by one U+FFFD each.
inline std::pair<Sequence, std::size_t> first_sequence(std::string_view text) {
    const auto byte = [text](std::size_t i) { return static_cast<unsigned char>(text[i]); };
    const unsigned char lead = byte(0);
    if (lead < 0x80) return {Sequence::valid, 1};
    const std::size_t length = lead < 0xC2 ? 0 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : lead < 0xF5 ? 4 : 0;
    if (!length) return {Sequence::invalid, 1};
    for (std::size_t i = 1; i < length; ++i) {
        if (i == text.size()) return {Sequence::incomplete, i};
        const unsigned char low = i > 1 ? 0x80 : lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
        const unsigned char high = i > 1 ? 0xBF : lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
        if (byte(i) < low || byte(i) > high) return {Sequence::invalid, i};
    }
    return {Sequence::valid, length};
}

// Return the position of the first byte that is not UTF-8; npos if there is none.
inline std::size_t first_invalid(std::string_view text) {
    for (std::size_t at = 0; at < text.size();) {
        const auto [kind, length] = first_sequence(text.substr(at));
        if (kind != Sequence::valid) return at;
        at += length;
    }
    return std::string_view::npos;
}

inline void check_text(std::string_view text) {
    if (const auto at = first_invalid(text); at != std::string_view::npos) {
        std::ostringstream byte;
        byte << std::hex << std::uppercase << int(static_cast<unsigned char>(text[at]));
        fail("a text must be UTF-8, was: 0x", byte.str(), " at byte ", at, "; use textrnn::replace_invalid(text)");
    }
}

// Return the first character of valid UTF-8, which is not empty, and its bytes.
inline std::pair<std::uint32_t, std::size_t> first_character(std::string_view text) {
    const auto lead = static_cast<unsigned char>(text[0]);
    if (lead < 0x80) return {lead, 1};
    const std::size_t length = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
    std::uint32_t code = lead & (0x7Fu >> length);
    for (std::size_t i = 1; i < length; ++i) code = code << 6 | (static_cast<unsigned char>(text[i]) & 0x3Fu);
    return {code, length};
}

inline std::vector<std::uint32_t> characters(std::string_view text) {
    std::vector<std::uint32_t> out;
    out.reserve(text.size());
    for (std::size_t at = 0; at < text.size();) {
        const auto [code, length] = first_character(text.substr(at));
        out.push_back(code);
        at += length;
    }
    return out;
}

inline std::size_t count_characters(std::string_view text) {
    return static_cast<std::size_t>(
        std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}

// Bytes in, whole characters out; what is not UTF-8 becomes U+FFFD.
class Utf8Decoder {
public:
    std::string push(std::string_view bytes) {
        held_.append(bytes);
        return release(false);
    }

    std::string finish() { return release(true); }

private:
    std::string release(bool final) {
        std::string out;
        std::size_t at = 0;
        while (at < held_.size()) {
            const auto [kind, length] = first_sequence(std::string_view(held_).substr(at));
            if (kind == Sequence::incomplete && !final) break;
            if (kind == Sequence::valid) {
                out.append(held_, at, length);
            } else {
                out += REPLACEMENT;
            }
            at += length;
        }
        held_.erase(0, at);
        return out;
    }

    std::string held_;
};

}  // namespace detail

// Return `bytes` with all that is not UTF-8 replaced by U+FFFD, as Python's `bytes.decode("utf-8", "replace")` does.
inline std::string replace_invalid(std::string_view bytes) {
    detail::Utf8Decoder decoder;
    std::string text = decoder.push(bytes);
    return text + decoder.finish();
}

namespace detail {

// -------------------------------------------------------------------------------------------------------- Unicode

struct Range {
    std::uint32_t first, last;
};

struct LowerCase {
    std::uint32_t first, last, step;  // capitals: every step-th of first to last
    std::int32_t shift;               // from a capital to its small letter
};

// clang-format off: made by unicode_tables.py
// Unicode 14.0.0.

// Whitespace.
inline constexpr Range BLANKS[] = {
    {0x9, 0xd}, {0x1c, 0x20}, {0x85, 0x85}, {0xa0, 0xa0}, {0x1680, 0x1680}, {0x2000, 0x200a}, {0x2028, 0x2029}, {0x202f,
    0x202f}, {0x205f, 0x205f}, {0x3000, 0x3000}};

// Letters, digits and the underscore.
inline constexpr Range LETTERS[] = {
    {0x30, 0x39}, {0x41, 0x5a}, {0x5f, 0x5f}, {0x61, 0x7a}, {0xaa, 0xaa}, {0xb2, 0xb3}, {0xb5, 0xb5}, {0xb9, 0xba},
    {0xbc, 0xbe}, {0xc0, 0xd6}, {0xd8, 0xf6}, {0xf8, 0x2c1}, {0x2c6, 0x2d1}, {0x2e0, 0x2e4}, {0x2ec, 0x2ec}, {0x2ee,
    0x2ee}, {0x370, 0x374}, {0x376, 0x377}, {0x37a, 0x37d}, {0x37f, 0x37f}, {0x386, 0x386}, {0x388, 0x38a}, {0x38c,
    0x38c}, {0x38e, 0x3a1}, {0x3a3, 0x3f5}, {0x3f7, 0x481}, {0x48a, 0x52f}, {0x531, 0x556}, {0x559, 0x559}, {0x560,
    0x588}, {0x5d0, 0x5ea}, {0x5ef, 0x5f2}, {0x620, 0x64a}, {0x660, 0x669}, {0x66e, 0x66f}, {0x671, 0x6d3}, {0x6d5,
    0x6d5}, {0x6e5, 0x6e6}, {0x6ee, 0x6fc}, {0x6ff, 0x6ff}, {0x710, 0x710}, {0x712, 0x72f}, {0x74d, 0x7a5}, {0x7b1,
    0x7b1}, {0x7c0, 0x7ea}, {0x7f4, 0x7f5}, {0x7fa, 0x7fa}, {0x800, 0x815}, {0x81a, 0x81a}, {0x824, 0x824}, {0x828,
    0x828}, {0x840, 0x858}, {0x860, 0x86a}, {0x870, 0x887}, {0x889, 0x88e}, {0x8a0, 0x8c9}, {0x904, 0x939}, {0x93d,
    0x93d}, {0x950, 0x950}, {0x958, 0x961}, {0x966, 0x96f}, {0x971, 0x980}, {0x985, 0x98c}, {0x98f, 0x990}, {0x993,
    0x9a8}, {0x9aa, 0x9b0}, {0x9b2, 0x9b2}, {0x9b6, 0x9b9}, {0x9bd, 0x9bd}, {0x9ce, 0x9ce}, {0x9dc, 0x9dd}, {0x9df,
    0x9e1}, {0x9e6, 0x9f1}, {0x9f4, 0x9f9}, {0x9fc, 0x9fc}, {0xa05, 0xa0a}, {0xa0f, 0xa10}, {0xa13, 0xa28}, {0xa2a,
    0xa30}, {0xa32, 0xa33}, {0xa35, 0xa36}, {0xa38, 0xa39}, {0xa59, 0xa5c}, {0xa5e, 0xa5e}, {0xa66, 0xa6f}, {0xa72,
    0xa74}, {0xa85, 0xa8d}, {0xa8f, 0xa91}, {0xa93, 0xaa8}, {0xaaa, 0xab0}, {0xab2, 0xab3}, {0xab5, 0xab9}, {0xabd,
    0xabd}, {0xad0, 0xad0}, {0xae0, 0xae1}, {0xae6, 0xaef}, {0xaf9, 0xaf9}, {0xb05, 0xb0c}, {0xb0f, 0xb10}, {0xb13,
    0xb28}, {0xb2a, 0xb30}, {0xb32, 0xb33}, {0xb35, 0xb39}, {0xb3d, 0xb3d}, {0xb5c, 0xb5d}, {0xb5f, 0xb61}, {0xb66,
    0xb6f}, {0xb71, 0xb77}, {0xb83, 0xb83}, {0xb85, 0xb8a}, {0xb8e, 0xb90}, {0xb92, 0xb95}, {0xb99, 0xb9a}, {0xb9c,
    0xb9c}, {0xb9e, 0xb9f}, {0xba3, 0xba4}, {0xba8, 0xbaa}, {0xbae, 0xbb9}, {0xbd0, 0xbd0}, {0xbe6, 0xbf2}, {0xc05,
    0xc0c}, {0xc0e, 0xc10}, {0xc12, 0xc28}, {0xc2a, 0xc39}, {0xc3d, 0xc3d}, {0xc58, 0xc5a}, {0xc5d, 0xc5d}, {0xc60,
    0xc61}, {0xc66, 0xc6f}, {0xc78, 0xc7e}, {0xc80, 0xc80}, {0xc85, 0xc8c}, {0xc8e, 0xc90}, {0xc92, 0xca8}, {0xcaa,
    0xcb3}, {0xcb5, 0xcb9}, {0xcbd, 0xcbd}, {0xcdd, 0xcde}, {0xce0, 0xce1}, {0xce6, 0xcef}, {0xcf1, 0xcf2}, {0xd04,
    0xd0c}, {0xd0e, 0xd10}, {0xd12, 0xd3a}, {0xd3d, 0xd3d}, {0xd4e, 0xd4e}, {0xd54, 0xd56}, {0xd58, 0xd61}, {0xd66,
    0xd78}, {0xd7a, 0xd7f}, {0xd85, 0xd96}, {0xd9a, 0xdb1}, {0xdb3, 0xdbb}, {0xdbd, 0xdbd}, {0xdc0, 0xdc6}, {0xde6,
    0xdef}, {0xe01, 0xe30}, {0xe32, 0xe33}, {0xe40, 0xe46}, {0xe50, 0xe59}, {0xe81, 0xe82}, {0xe84, 0xe84}, {0xe86,
    0xe8a}, {0xe8c, 0xea3}, {0xea5, 0xea5}, {0xea7, 0xeb0}, {0xeb2, 0xeb3}, {0xebd, 0xebd}, {0xec0, 0xec4}, {0xec6,
    0xec6}, {0xed0, 0xed9}, {0xedc, 0xedf}, {0xf00, 0xf00}, {0xf20, 0xf33}, {0xf40, 0xf47}, {0xf49, 0xf6c}, {0xf88,
    0xf8c}, {0x1000, 0x102a}, {0x103f, 0x1049}, {0x1050, 0x1055}, {0x105a, 0x105d}, {0x1061, 0x1061}, {0x1065, 0x1066},
    {0x106e, 0x1070}, {0x1075, 0x1081}, {0x108e, 0x108e}, {0x1090, 0x1099}, {0x10a0, 0x10c5}, {0x10c7, 0x10c7}, {0x10cd,
    0x10cd}, {0x10d0, 0x10fa}, {0x10fc, 0x1248}, {0x124a, 0x124d}, {0x1250, 0x1256}, {0x1258, 0x1258}, {0x125a, 0x125d},
    {0x1260, 0x1288}, {0x128a, 0x128d}, {0x1290, 0x12b0}, {0x12b2, 0x12b5}, {0x12b8, 0x12be}, {0x12c0, 0x12c0}, {0x12c2,
    0x12c5}, {0x12c8, 0x12d6}, {0x12d8, 0x1310}, {0x1312, 0x1315}, {0x1318, 0x135a}, {0x1369, 0x137c}, {0x1380, 0x138f},
    {0x13a0, 0x13f5}, {0x13f8, 0x13fd}, {0x1401, 0x166c}, {0x166f, 0x167f}, {0x1681, 0x169a}, {0x16a0, 0x16ea}, {0x16ee,
    0x16f8}, {0x1700, 0x1711}, {0x171f, 0x1731}, {0x1740, 0x1751}, {0x1760, 0x176c}, {0x176e, 0x1770}, {0x1780, 0x17b3},
    {0x17d7, 0x17d7}, {0x17dc, 0x17dc}, {0x17e0, 0x17e9}, {0x17f0, 0x17f9}, {0x1810, 0x1819}, {0x1820, 0x1878}, {0x1880,
    0x1884}, {0x1887, 0x18a8}, {0x18aa, 0x18aa}, {0x18b0, 0x18f5}, {0x1900, 0x191e}, {0x1946, 0x196d}, {0x1970, 0x1974},
    {0x1980, 0x19ab}, {0x19b0, 0x19c9}, {0x19d0, 0x19da}, {0x1a00, 0x1a16}, {0x1a20, 0x1a54}, {0x1a80, 0x1a89}, {0x1a90,
    0x1a99}, {0x1aa7, 0x1aa7}, {0x1b05, 0x1b33}, {0x1b45, 0x1b4c}, {0x1b50, 0x1b59}, {0x1b83, 0x1ba0}, {0x1bae, 0x1be5},
    {0x1c00, 0x1c23}, {0x1c40, 0x1c49}, {0x1c4d, 0x1c7d}, {0x1c80, 0x1c88}, {0x1c90, 0x1cba}, {0x1cbd, 0x1cbf}, {0x1ce9,
    0x1cec}, {0x1cee, 0x1cf3}, {0x1cf5, 0x1cf6}, {0x1cfa, 0x1cfa}, {0x1d00, 0x1dbf}, {0x1e00, 0x1f15}, {0x1f18, 0x1f1d},
    {0x1f20, 0x1f45}, {0x1f48, 0x1f4d}, {0x1f50, 0x1f57}, {0x1f59, 0x1f59}, {0x1f5b, 0x1f5b}, {0x1f5d, 0x1f5d}, {0x1f5f,
    0x1f7d}, {0x1f80, 0x1fb4}, {0x1fb6, 0x1fbc}, {0x1fbe, 0x1fbe}, {0x1fc2, 0x1fc4}, {0x1fc6, 0x1fcc}, {0x1fd0, 0x1fd3},
    {0x1fd6, 0x1fdb}, {0x1fe0, 0x1fec}, {0x1ff2, 0x1ff4}, {0x1ff6, 0x1ffc}, {0x2070, 0x2071}, {0x2074, 0x2079}, {0x207f,
    0x2089}, {0x2090, 0x209c}, {0x2102, 0x2102}, {0x2107, 0x2107}, {0x210a, 0x2113}, {0x2115, 0x2115}, {0x2119, 0x211d},
    {0x2124, 0x2124}, {0x2126, 0x2126}, {0x2128, 0x2128}, {0x212a, 0x212d}, {0x212f, 0x2139}, {0x213c, 0x213f}, {0x2145,
    0x2149}, {0x214e, 0x214e}, {0x2150, 0x2189}, {0x2460, 0x249b}, {0x24ea, 0x24ff}, {0x2776, 0x2793}, {0x2c00, 0x2ce4},
    {0x2ceb, 0x2cee}, {0x2cf2, 0x2cf3}, {0x2cfd, 0x2cfd}, {0x2d00, 0x2d25}, {0x2d27, 0x2d27}, {0x2d2d, 0x2d2d}, {0x2d30,
    0x2d67}, {0x2d6f, 0x2d6f}, {0x2d80, 0x2d96}, {0x2da0, 0x2da6}, {0x2da8, 0x2dae}, {0x2db0, 0x2db6}, {0x2db8, 0x2dbe},
    {0x2dc0, 0x2dc6}, {0x2dc8, 0x2dce}, {0x2dd0, 0x2dd6}, {0x2dd8, 0x2dde}, {0x2e2f, 0x2e2f}, {0x3005, 0x3007}, {0x3021,
    0x3029}, {0x3031, 0x3035}, {0x3038, 0x303c}, {0x3041, 0x3096}, {0x309d, 0x309f}, {0x30a1, 0x30fa}, {0x30fc, 0x30ff},
    {0x3105, 0x312f}, {0x3131, 0x318e}, {0x3192, 0x3195}, {0x31a0, 0x31bf}, {0x31f0, 0x31ff}, {0x3220, 0x3229}, {0x3248,
    0x324f}, {0x3251, 0x325f}, {0x3280, 0x3289}, {0x32b1, 0x32bf}, {0x3400, 0x4dbf}, {0x4e00, 0xa48c}, {0xa4d0, 0xa4fd},
    {0xa500, 0xa60c}, {0xa610, 0xa62b}, {0xa640, 0xa66e}, {0xa67f, 0xa69d}, {0xa6a0, 0xa6ef}, {0xa717, 0xa71f}, {0xa722,
    0xa788}, {0xa78b, 0xa7ca}, {0xa7d0, 0xa7d1}, {0xa7d3, 0xa7d3}, {0xa7d5, 0xa7d9}, {0xa7f2, 0xa801}, {0xa803, 0xa805},
    {0xa807, 0xa80a}, {0xa80c, 0xa822}, {0xa830, 0xa835}, {0xa840, 0xa873}, {0xa882, 0xa8b3}, {0xa8d0, 0xa8d9}, {0xa8f2,
    0xa8f7}, {0xa8fb, 0xa8fb}, {0xa8fd, 0xa8fe}, {0xa900, 0xa925}, {0xa930, 0xa946}, {0xa960, 0xa97c}, {0xa984, 0xa9b2},
    {0xa9cf, 0xa9d9}, {0xa9e0, 0xa9e4}, {0xa9e6, 0xa9fe}, {0xaa00, 0xaa28}, {0xaa40, 0xaa42}, {0xaa44, 0xaa4b}, {0xaa50,
    0xaa59}, {0xaa60, 0xaa76}, {0xaa7a, 0xaa7a}, {0xaa7e, 0xaaaf}, {0xaab1, 0xaab1}, {0xaab5, 0xaab6}, {0xaab9, 0xaabd},
    {0xaac0, 0xaac0}, {0xaac2, 0xaac2}, {0xaadb, 0xaadd}, {0xaae0, 0xaaea}, {0xaaf2, 0xaaf4}, {0xab01, 0xab06}, {0xab09,
    0xab0e}, {0xab11, 0xab16}, {0xab20, 0xab26}, {0xab28, 0xab2e}, {0xab30, 0xab5a}, {0xab5c, 0xab69}, {0xab70, 0xabe2},
    {0xabf0, 0xabf9}, {0xac00, 0xd7a3}, {0xd7b0, 0xd7c6}, {0xd7cb, 0xd7fb}, {0xf900, 0xfa6d}, {0xfa70, 0xfad9}, {0xfb00,
    0xfb06}, {0xfb13, 0xfb17}, {0xfb1d, 0xfb1d}, {0xfb1f, 0xfb28}, {0xfb2a, 0xfb36}, {0xfb38, 0xfb3c}, {0xfb3e, 0xfb3e},
    {0xfb40, 0xfb41}, {0xfb43, 0xfb44}, {0xfb46, 0xfbb1}, {0xfbd3, 0xfd3d}, {0xfd50, 0xfd8f}, {0xfd92, 0xfdc7}, {0xfdf0,
    0xfdfb}, {0xfe70, 0xfe74}, {0xfe76, 0xfefc}, {0xff10, 0xff19}, {0xff21, 0xff3a}, {0xff41, 0xff5a}, {0xff66, 0xffbe},
    {0xffc2, 0xffc7}, {0xffca, 0xffcf}, {0xffd2, 0xffd7}, {0xffda, 0xffdc}, {0x10000, 0x1000b}, {0x1000d, 0x10026},
    {0x10028, 0x1003a}, {0x1003c, 0x1003d}, {0x1003f, 0x1004d}, {0x10050, 0x1005d}, {0x10080, 0x100fa}, {0x10107,
    0x10133}, {0x10140, 0x10178}, {0x1018a, 0x1018b}, {0x10280, 0x1029c}, {0x102a0, 0x102d0}, {0x102e1, 0x102fb},
    {0x10300, 0x10323}, {0x1032d, 0x1034a}, {0x10350, 0x10375}, {0x10380, 0x1039d}, {0x103a0, 0x103c3}, {0x103c8,
    0x103cf}, {0x103d1, 0x103d5}, {0x10400, 0x1049d}, {0x104a0, 0x104a9}, {0x104b0, 0x104d3}, {0x104d8, 0x104fb},
    {0x10500, 0x10527}, {0x10530, 0x10563}, {0x10570, 0x1057a}, {0x1057c, 0x1058a}, {0x1058c, 0x10592}, {0x10594,
    0x10595}, {0x10597, 0x105a1}, {0x105a3, 0x105b1}, {0x105b3, 0x105b9}, {0x105bb, 0x105bc}, {0x10600, 0x10736},
    {0x10740, 0x10755}, {0x10760, 0x10767}, {0x10780, 0x10785}, {0x10787, 0x107b0}, {0x107b2, 0x107ba}, {0x10800,
    0x10805}, {0x10808, 0x10808}, {0x1080a, 0x10835}, {0x10837, 0x10838}, {0x1083c, 0x1083c}, {0x1083f, 0x10855},
    {0x10858, 0x10876}, {0x10879, 0x1089e}, {0x108a7, 0x108af}, {0x108e0, 0x108f2}, {0x108f4, 0x108f5}, {0x108fb,
    0x1091b}, {0x10920, 0x10939}, {0x10980, 0x109b7}, {0x109bc, 0x109cf}, {0x109d2, 0x10a00}, {0x10a10, 0x10a13},
    {0x10a15, 0x10a17}, {0x10a19, 0x10a35}, {0x10a40, 0x10a48}, {0x10a60, 0x10a7e}, {0x10a80, 0x10a9f}, {0x10ac0,
    0x10ac7}, {0x10ac9, 0x10ae4}, {0x10aeb, 0x10aef}, {0x10b00, 0x10b35}, {0x10b40, 0x10b55}, {0x10b58, 0x10b72},
    {0x10b78, 0x10b91}, {0x10ba9, 0x10baf}, {0x10c00, 0x10c48}, {0x10c80, 0x10cb2}, {0x10cc0, 0x10cf2}, {0x10cfa,
    0x10d23}, {0x10d30, 0x10d39}, {0x10e60, 0x10e7e}, {0x10e80, 0x10ea9}, {0x10eb0, 0x10eb1}, {0x10f00, 0x10f27},
    {0x10f30, 0x10f45}, {0x10f51, 0x10f54}, {0x10f70, 0x10f81}, {0x10fb0, 0x10fcb}, {0x10fe0, 0x10ff6}, {0x11003,
    0x11037}, {0x11052, 0x1106f}, {0x11071, 0x11072}, {0x11075, 0x11075}, {0x11083, 0x110af}, {0x110d0, 0x110e8},
    {0x110f0, 0x110f9}, {0x11103, 0x11126}, {0x11136, 0x1113f}, {0x11144, 0x11144}, {0x11147, 0x11147}, {0x11150,
    0x11172}, {0x11176, 0x11176}, {0x11183, 0x111b2}, {0x111c1, 0x111c4}, {0x111d0, 0x111da}, {0x111dc, 0x111dc},
    {0x111e1, 0x111f4}, {0x11200, 0x11211}, {0x11213, 0x1122b}, {0x11280, 0x11286}, {0x11288, 0x11288}, {0x1128a,
    0x1128d}, {0x1128f, 0x1129d}, {0x1129f, 0x112a8}, {0x112b0, 0x112de}, {0x112f0, 0x112f9}, {0x11305, 0x1130c},
    {0x1130f, 0x11310}, {0x11313, 0x11328}, {0x1132a, 0x11330}, {0x11332, 0x11333}, {0x11335, 0x11339}, {0x1133d,
    0x1133d}, {0x11350, 0x11350}, {0x1135d, 0x11361}, {0x11400, 0x11434}, {0x11447, 0x1144a}, {0x11450, 0x11459},
    {0x1145f, 0x11461}, {0x11480, 0x114af}, {0x114c4, 0x114c5}, {0x114c7, 0x114c7}, {0x114d0, 0x114d9}, {0x11580,
    0x115ae}, {0x115d8, 0x115db}, {0x11600, 0x1162f}, {0x11644, 0x11644}, {0x11650, 0x11659}, {0x11680, 0x116aa},
    {0x116b8, 0x116b8}, {0x116c0, 0x116c9}, {0x11700, 0x1171a}, {0x11730, 0x1173b}, {0x11740, 0x11746}, {0x11800,
    0x1182b}, {0x118a0, 0x118f2}, {0x118ff, 0x11906}, {0x11909, 0x11909}, {0x1190c, 0x11913}, {0x11915, 0x11916},
    {0x11918, 0x1192f}, {0x1193f, 0x1193f}, {0x11941, 0x11941}, {0x11950, 0x11959}, {0x119a0, 0x119a7}, {0x119aa,
    0x119d0}, {0x119e1, 0x119e1}, {0x119e3, 0x119e3}, {0x11a00, 0x11a00}, {0x11a0b, 0x11a32}, {0x11a3a, 0x11a3a},
    {0x11a50, 0x11a50}, {0x11a5c, 0x11a89}, {0x11a9d, 0x11a9d}, {0x11ab0, 0x11af8}, {0x11c00, 0x11c08}, {0x11c0a,
    0x11c2e}, {0x11c40, 0x11c40}, {0x11c50, 0x11c6c}, {0x11c72, 0x11c8f}, {0x11d00, 0x11d06}, {0x11d08, 0x11d09},
    {0x11d0b, 0x11d30}, {0x11d46, 0x11d46}, {0x11d50, 0x11d59}, {0x11d60, 0x11d65}, {0x11d67, 0x11d68}, {0x11d6a,
    0x11d89}, {0x11d98, 0x11d98}, {0x11da0, 0x11da9}, {0x11ee0, 0x11ef2}, {0x11fb0, 0x11fb0}, {0x11fc0, 0x11fd4},
    {0x12000, 0x12399}, {0x12400, 0x1246e}, {0x12480, 0x12543}, {0x12f90, 0x12ff0}, {0x13000, 0x1342e}, {0x14400,
    0x14646}, {0x16800, 0x16a38}, {0x16a40, 0x16a5e}, {0x16a60, 0x16a69}, {0x16a70, 0x16abe}, {0x16ac0, 0x16ac9},
    {0x16ad0, 0x16aed}, {0x16b00, 0x16b2f}, {0x16b40, 0x16b43}, {0x16b50, 0x16b59}, {0x16b5b, 0x16b61}, {0x16b63,
    0x16b77}, {0x16b7d, 0x16b8f}, {0x16e40, 0x16e96}, {0x16f00, 0x16f4a}, {0x16f50, 0x16f50}, {0x16f93, 0x16f9f},
    {0x16fe0, 0x16fe1}, {0x16fe3, 0x16fe3}, {0x17000, 0x187f7}, {0x18800, 0x18cd5}, {0x18d00, 0x18d08}, {0x1aff0,
    0x1aff3}, {0x1aff5, 0x1affb}, {0x1affd, 0x1affe}, {0x1b000, 0x1b122}, {0x1b150, 0x1b152}, {0x1b164, 0x1b167},
    {0x1b170, 0x1b2fb}, {0x1bc00, 0x1bc6a}, {0x1bc70, 0x1bc7c}, {0x1bc80, 0x1bc88}, {0x1bc90, 0x1bc99}, {0x1d2e0,
    0x1d2f3}, {0x1d360, 0x1d378}, {0x1d400, 0x1d454}, {0x1d456, 0x1d49c}, {0x1d49e, 0x1d49f}, {0x1d4a2, 0x1d4a2},
    {0x1d4a5, 0x1d4a6}, {0x1d4a9, 0x1d4ac}, {0x1d4ae, 0x1d4b9}, {0x1d4bb, 0x1d4bb}, {0x1d4bd, 0x1d4c3}, {0x1d4c5,
    0x1d505}, {0x1d507, 0x1d50a}, {0x1d50d, 0x1d514}, {0x1d516, 0x1d51c}, {0x1d51e, 0x1d539}, {0x1d53b, 0x1d53e},
    {0x1d540, 0x1d544}, {0x1d546, 0x1d546}, {0x1d54a, 0x1d550}, {0x1d552, 0x1d6a5}, {0x1d6a8, 0x1d6c0}, {0x1d6c2,
    0x1d6da}, {0x1d6dc, 0x1d6fa}, {0x1d6fc, 0x1d714}, {0x1d716, 0x1d734}, {0x1d736, 0x1d74e}, {0x1d750, 0x1d76e},
    {0x1d770, 0x1d788}, {0x1d78a, 0x1d7a8}, {0x1d7aa, 0x1d7c2}, {0x1d7c4, 0x1d7cb}, {0x1d7ce, 0x1d7ff}, {0x1df00,
    0x1df1e}, {0x1e100, 0x1e12c}, {0x1e137, 0x1e13d}, {0x1e140, 0x1e149}, {0x1e14e, 0x1e14e}, {0x1e290, 0x1e2ad},
    {0x1e2c0, 0x1e2eb}, {0x1e2f0, 0x1e2f9}, {0x1e7e0, 0x1e7e6}, {0x1e7e8, 0x1e7eb}, {0x1e7ed, 0x1e7ee}, {0x1e7f0,
    0x1e7fe}, {0x1e800, 0x1e8c4}, {0x1e8c7, 0x1e8cf}, {0x1e900, 0x1e943}, {0x1e94b, 0x1e94b}, {0x1e950, 0x1e959},
    {0x1ec71, 0x1ecab}, {0x1ecad, 0x1ecaf}, {0x1ecb1, 0x1ecb4}, {0x1ed01, 0x1ed2d}, {0x1ed2f, 0x1ed3d}, {0x1ee00,
    0x1ee03}, {0x1ee05, 0x1ee1f}, {0x1ee21, 0x1ee22}, {0x1ee24, 0x1ee24}, {0x1ee27, 0x1ee27}, {0x1ee29, 0x1ee32},
    {0x1ee34, 0x1ee37}, {0x1ee39, 0x1ee39}, {0x1ee3b, 0x1ee3b}, {0x1ee42, 0x1ee42}, {0x1ee47, 0x1ee47}, {0x1ee49,
    0x1ee49}, {0x1ee4b, 0x1ee4b}, {0x1ee4d, 0x1ee4f}, {0x1ee51, 0x1ee52}, {0x1ee54, 0x1ee54}, {0x1ee57, 0x1ee57},
    {0x1ee59, 0x1ee59}, {0x1ee5b, 0x1ee5b}, {0x1ee5d, 0x1ee5d}, {0x1ee5f, 0x1ee5f}, {0x1ee61, 0x1ee62}, {0x1ee64,
    0x1ee64}, {0x1ee67, 0x1ee6a}, {0x1ee6c, 0x1ee72}, {0x1ee74, 0x1ee77}, {0x1ee79, 0x1ee7c}, {0x1ee7e, 0x1ee7e},
    {0x1ee80, 0x1ee89}, {0x1ee8b, 0x1ee9b}, {0x1eea1, 0x1eea3}, {0x1eea5, 0x1eea9}, {0x1eeab, 0x1eebb}, {0x1f100,
    0x1f10c}, {0x1fbf0, 0x1fbf9}, {0x20000, 0x2a6df}, {0x2a700, 0x2b738}, {0x2b740, 0x2b81d}, {0x2b820, 0x2cea1},
    {0x2ceb0, 0x2ebe0}, {0x2f800, 0x2fa1d}, {0x30000, 0x3134a}};

// Combining marks that belong to words, and joiners.
inline constexpr Range MARKS[] = {
    {0x300, 0x36f}, {0x483, 0x489}, {0x591, 0x5bd}, {0x5bf, 0x5bf}, {0x5c1, 0x5c2}, {0x5c4, 0x5c5}, {0x5c7, 0x5c7},
    {0x610, 0x61a}, {0x64b, 0x65f}, {0x670, 0x670}, {0x6d6, 0x6dc}, {0x6df, 0x6e4}, {0x6e7, 0x6e8}, {0x6ea, 0x6ed},
    {0x711, 0x711}, {0x730, 0x74a}, {0x7a6, 0x7b0}, {0x7eb, 0x7f3}, {0x7fd, 0x7fd}, {0x816, 0x819}, {0x81b, 0x823},
    {0x825, 0x827}, {0x829, 0x82d}, {0x859, 0x85b}, {0x898, 0x89f}, {0x8ca, 0x8e1}, {0x8e3, 0x903}, {0x93a, 0x93c},
    {0x93e, 0x94f}, {0x951, 0x957}, {0x962, 0x963}, {0x981, 0x983}, {0x9bc, 0x9bc}, {0x9be, 0x9c4}, {0x9c7, 0x9c8},
    {0x9cb, 0x9cd}, {0x9d7, 0x9d7}, {0x9e2, 0x9e3}, {0x9fe, 0x9fe}, {0xa01, 0xa03}, {0xa3c, 0xa3c}, {0xa3e, 0xa42},
    {0xa47, 0xa48}, {0xa4b, 0xa4d}, {0xa51, 0xa51}, {0xa70, 0xa71}, {0xa75, 0xa75}, {0xa81, 0xa83}, {0xabc, 0xabc},
    {0xabe, 0xac5}, {0xac7, 0xac9}, {0xacb, 0xacd}, {0xae2, 0xae3}, {0xafa, 0xaff}, {0xb01, 0xb03}, {0xb3c, 0xb3c},
    {0xb3e, 0xb44}, {0xb47, 0xb48}, {0xb4b, 0xb4d}, {0xb55, 0xb57}, {0xb62, 0xb63}, {0xb82, 0xb82}, {0xbbe, 0xbc2},
    {0xbc6, 0xbc8}, {0xbca, 0xbcd}, {0xbd7, 0xbd7}, {0xc00, 0xc04}, {0xc3c, 0xc3c}, {0xc3e, 0xc44}, {0xc46, 0xc48},
    {0xc4a, 0xc4d}, {0xc55, 0xc56}, {0xc62, 0xc63}, {0xc81, 0xc83}, {0xcbc, 0xcbc}, {0xcbe, 0xcc4}, {0xcc6, 0xcc8},
    {0xcca, 0xccd}, {0xcd5, 0xcd6}, {0xce2, 0xce3}, {0xd00, 0xd03}, {0xd3b, 0xd3c}, {0xd3e, 0xd44}, {0xd46, 0xd48},
    {0xd4a, 0xd4d}, {0xd57, 0xd57}, {0xd62, 0xd63}, {0xd81, 0xd83}, {0xdca, 0xdca}, {0xdcf, 0xdd4}, {0xdd6, 0xdd6},
    {0xdd8, 0xddf}, {0xdf2, 0xdf3}, {0xe31, 0xe31}, {0xe34, 0xe3a}, {0xe47, 0xe4e}, {0xeb1, 0xeb1}, {0xeb4, 0xebc},
    {0xec8, 0xecd}, {0xf18, 0xf19}, {0xf35, 0xf35}, {0xf37, 0xf37}, {0xf39, 0xf39}, {0xf3e, 0xf3f}, {0xf71, 0xf84},
    {0xf86, 0xf87}, {0xf8d, 0xf97}, {0xf99, 0xfbc}, {0xfc6, 0xfc6}, {0x102b, 0x103e}, {0x1056, 0x1059}, {0x105e,
    0x1060}, {0x1062, 0x1064}, {0x1067, 0x106d}, {0x1071, 0x1074}, {0x1082, 0x108d}, {0x108f, 0x108f}, {0x109a, 0x109d},
    {0x135d, 0x135f}, {0x1712, 0x1715}, {0x1732, 0x1734}, {0x1752, 0x1753}, {0x1772, 0x1773}, {0x17b4, 0x17d3}, {0x17dd,
    0x17dd}, {0x180b, 0x180d}, {0x180f, 0x180f}, {0x1885, 0x1886}, {0x18a9, 0x18a9}, {0x1920, 0x192b}, {0x1930, 0x193b},
    {0x1a17, 0x1a1b}, {0x1a55, 0x1a5e}, {0x1a60, 0x1a7c}, {0x1a7f, 0x1a7f}, {0x1ab0, 0x1ace}, {0x1b00, 0x1b04}, {0x1b34,
    0x1b44}, {0x1b6b, 0x1b73}, {0x1b80, 0x1b82}, {0x1ba1, 0x1bad}, {0x1be6, 0x1bf3}, {0x1c24, 0x1c37}, {0x1cd0, 0x1cd2},
    {0x1cd4, 0x1ce8}, {0x1ced, 0x1ced}, {0x1cf4, 0x1cf4}, {0x1cf7, 0x1cf9}, {0x1dc0, 0x1dff}, {0x200c, 0x200d}, {0x20d0,
    0x20f0}, {0x2cef, 0x2cf1}, {0x2d7f, 0x2d7f}, {0x2de0, 0x2dff}, {0x302a, 0x302f}, {0x3099, 0x309a}, {0xa66f, 0xa672},
    {0xa674, 0xa67d}, {0xa69e, 0xa69f}, {0xa6f0, 0xa6f1}, {0xa802, 0xa802}, {0xa806, 0xa806}, {0xa80b, 0xa80b}, {0xa823,
    0xa827}, {0xa82c, 0xa82c}, {0xa880, 0xa881}, {0xa8b4, 0xa8c5}, {0xa8e0, 0xa8f1}, {0xa8ff, 0xa8ff}, {0xa926, 0xa92d},
    {0xa947, 0xa953}, {0xa980, 0xa983}, {0xa9b3, 0xa9c0}, {0xa9e5, 0xa9e5}, {0xaa29, 0xaa36}, {0xaa43, 0xaa43}, {0xaa4c,
    0xaa4d}, {0xaa7b, 0xaa7d}, {0xaab0, 0xaab0}, {0xaab2, 0xaab4}, {0xaab7, 0xaab8}, {0xaabe, 0xaabf}, {0xaac1, 0xaac1},
    {0xaaeb, 0xaaef}, {0xaaf5, 0xaaf6}, {0xabe3, 0xabea}, {0xabec, 0xabed}, {0xfb1e, 0xfb1e}, {0xfe00, 0xfe0f}, {0xfe20,
    0xfe2f}};

// Characters with case.
inline constexpr Range CASED[] = {
    {0x41, 0x5a}, {0x61, 0x7a}, {0xaa, 0xaa}, {0xb5, 0xb5}, {0xba, 0xba}, {0xc0, 0xd6}, {0xd8, 0xf6}, {0xf8, 0x1ba},
    {0x1bc, 0x1bf}, {0x1c4, 0x293}, {0x295, 0x2af}, {0x370, 0x373}, {0x376, 0x377}, {0x37b, 0x37d}, {0x37f, 0x37f},
    {0x386, 0x386}, {0x388, 0x38a}, {0x38c, 0x38c}, {0x38e, 0x3a1}, {0x3a3, 0x3f5}, {0x3f7, 0x481}, {0x48a, 0x52f},
    {0x531, 0x556}, {0x560, 0x588}, {0x10a0, 0x10c5}, {0x10c7, 0x10c7}, {0x10cd, 0x10cd}, {0x10d0, 0x10fa}, {0x10fd,
    0x10ff}, {0x13a0, 0x13f5}, {0x13f8, 0x13fd}, {0x1c80, 0x1c88}, {0x1c90, 0x1cba}, {0x1cbd, 0x1cbf}, {0x1d00, 0x1d2b},
    {0x1d6b, 0x1d77}, {0x1d79, 0x1d9a}, {0x1e00, 0x1f15}, {0x1f18, 0x1f1d}, {0x1f20, 0x1f45}, {0x1f48, 0x1f4d}, {0x1f50,
    0x1f57}, {0x1f59, 0x1f59}, {0x1f5b, 0x1f5b}, {0x1f5d, 0x1f5d}, {0x1f5f, 0x1f7d}, {0x1f80, 0x1fb4}, {0x1fb6, 0x1fbc},
    {0x1fbe, 0x1fbe}, {0x1fc2, 0x1fc4}, {0x1fc6, 0x1fcc}, {0x1fd0, 0x1fd3}, {0x1fd6, 0x1fdb}, {0x1fe0, 0x1fec}, {0x1ff2,
    0x1ff4}, {0x1ff6, 0x1ffc}, {0x2102, 0x2102}, {0x2107, 0x2107}, {0x210a, 0x2113}, {0x2115, 0x2115}, {0x2119, 0x211d},
    {0x2124, 0x2124}, {0x2126, 0x2126}, {0x2128, 0x2128}, {0x212a, 0x212d}, {0x212f, 0x2134}, {0x2139, 0x2139}, {0x213c,
    0x213f}, {0x2145, 0x2149}, {0x214e, 0x214e}, {0x2160, 0x217f}, {0x2183, 0x2184}, {0x24b6, 0x24e9}, {0x2c00, 0x2c7b},
    {0x2c7e, 0x2ce4}, {0x2ceb, 0x2cee}, {0x2cf2, 0x2cf3}, {0x2d00, 0x2d25}, {0x2d27, 0x2d27}, {0x2d2d, 0x2d2d}, {0xa640,
    0xa66d}, {0xa680, 0xa69b}, {0xa722, 0xa76f}, {0xa771, 0xa787}, {0xa78b, 0xa78e}, {0xa790, 0xa7ca}, {0xa7d0, 0xa7d1},
    {0xa7d3, 0xa7d3}, {0xa7d5, 0xa7d9}, {0xa7f5, 0xa7f6}, {0xa7fa, 0xa7fa}, {0xab30, 0xab5a}, {0xab60, 0xab68}, {0xab70,
    0xabbf}, {0xfb00, 0xfb06}, {0xfb13, 0xfb17}, {0xff21, 0xff3a}, {0xff41, 0xff5a}, {0x10400, 0x1044f}, {0x104b0,
    0x104d3}, {0x104d8, 0x104fb}, {0x10570, 0x1057a}, {0x1057c, 0x1058a}, {0x1058c, 0x10592}, {0x10594, 0x10595},
    {0x10597, 0x105a1}, {0x105a3, 0x105b1}, {0x105b3, 0x105b9}, {0x105bb, 0x105bc}, {0x10c80, 0x10cb2}, {0x10cc0,
    0x10cf2}, {0x118a0, 0x118df}, {0x16e40, 0x16e7f}, {0x1d400, 0x1d454}, {0x1d456, 0x1d49c}, {0x1d49e, 0x1d49f},
    {0x1d4a2, 0x1d4a2}, {0x1d4a5, 0x1d4a6}, {0x1d4a9, 0x1d4ac}, {0x1d4ae, 0x1d4b9}, {0x1d4bb, 0x1d4bb}, {0x1d4bd,
    0x1d4c3}, {0x1d4c5, 0x1d505}, {0x1d507, 0x1d50a}, {0x1d50d, 0x1d514}, {0x1d516, 0x1d51c}, {0x1d51e, 0x1d539},
    {0x1d53b, 0x1d53e}, {0x1d540, 0x1d544}, {0x1d546, 0x1d546}, {0x1d54a, 0x1d550}, {0x1d552, 0x1d6a5}, {0x1d6a8,
    0x1d6c0}, {0x1d6c2, 0x1d6da}, {0x1d6dc, 0x1d6fa}, {0x1d6fc, 0x1d714}, {0x1d716, 0x1d734}, {0x1d736, 0x1d74e},
    {0x1d750, 0x1d76e}, {0x1d770, 0x1d788}, {0x1d78a, 0x1d7a8}, {0x1d7aa, 0x1d7c2}, {0x1d7c4, 0x1d7cb}, {0x1df00,
    0x1df09}, {0x1df0b, 0x1df1e}, {0x1e900, 0x1e943}, {0x1f130, 0x1f149}, {0x1f150, 0x1f169}, {0x1f170, 0x1f189}};

// Characters that the rule of the final sigma skips.
inline constexpr Range CASE_IGNORED[] = {
    {0x27, 0x27}, {0x2e, 0x2e}, {0x3a, 0x3a}, {0x5e, 0x5e}, {0x60, 0x60}, {0xa8, 0xa8}, {0xad, 0xad}, {0xaf, 0xaf},
    {0xb4, 0xb4}, {0xb7, 0xb8}, {0x2b0, 0x36f}, {0x374, 0x375}, {0x37a, 0x37a}, {0x384, 0x385}, {0x387, 0x387}, {0x483,
    0x489}, {0x559, 0x559}, {0x55f, 0x55f}, {0x591, 0x5bd}, {0x5bf, 0x5bf}, {0x5c1, 0x5c2}, {0x5c4, 0x5c5}, {0x5c7,
    0x5c7}, {0x5f4, 0x5f4}, {0x600, 0x605}, {0x610, 0x61a}, {0x61c, 0x61c}, {0x640, 0x640}, {0x64b, 0x65f}, {0x670,
    0x670}, {0x6d6, 0x6dd}, {0x6df, 0x6e8}, {0x6ea, 0x6ed}, {0x70f, 0x70f}, {0x711, 0x711}, {0x730, 0x74a}, {0x7a6,
    0x7b0}, {0x7eb, 0x7f5}, {0x7fa, 0x7fa}, {0x7fd, 0x7fd}, {0x816, 0x82d}, {0x859, 0x85b}, {0x888, 0x888}, {0x890,
    0x891}, {0x898, 0x89f}, {0x8c9, 0x902}, {0x93a, 0x93a}, {0x93c, 0x93c}, {0x941, 0x948}, {0x94d, 0x94d}, {0x951,
    0x957}, {0x962, 0x963}, {0x971, 0x971}, {0x981, 0x981}, {0x9bc, 0x9bc}, {0x9c1, 0x9c4}, {0x9cd, 0x9cd}, {0x9e2,
    0x9e3}, {0x9fe, 0x9fe}, {0xa01, 0xa02}, {0xa3c, 0xa3c}, {0xa41, 0xa42}, {0xa47, 0xa48}, {0xa4b, 0xa4d}, {0xa51,
    0xa51}, {0xa70, 0xa71}, {0xa75, 0xa75}, {0xa81, 0xa82}, {0xabc, 0xabc}, {0xac1, 0xac5}, {0xac7, 0xac8}, {0xacd,
    0xacd}, {0xae2, 0xae3}, {0xafa, 0xaff}, {0xb01, 0xb01}, {0xb3c, 0xb3c}, {0xb3f, 0xb3f}, {0xb41, 0xb44}, {0xb4d,
    0xb4d}, {0xb55, 0xb56}, {0xb62, 0xb63}, {0xb82, 0xb82}, {0xbc0, 0xbc0}, {0xbcd, 0xbcd}, {0xc00, 0xc00}, {0xc04,
    0xc04}, {0xc3c, 0xc3c}, {0xc3e, 0xc40}, {0xc46, 0xc48}, {0xc4a, 0xc4d}, {0xc55, 0xc56}, {0xc62, 0xc63}, {0xc81,
    0xc81}, {0xcbc, 0xcbc}, {0xcbf, 0xcbf}, {0xcc6, 0xcc6}, {0xccc, 0xccd}, {0xce2, 0xce3}, {0xd00, 0xd01}, {0xd3b,
    0xd3c}, {0xd41, 0xd44}, {0xd4d, 0xd4d}, {0xd62, 0xd63}, {0xd81, 0xd81}, {0xdca, 0xdca}, {0xdd2, 0xdd4}, {0xdd6,
    0xdd6}, {0xe31, 0xe31}, {0xe34, 0xe3a}, {0xe46, 0xe4e}, {0xeb1, 0xeb1}, {0xeb4, 0xebc}, {0xec6, 0xec6}, {0xec8,
    0xecd}, {0xf18, 0xf19}, {0xf35, 0xf35}, {0xf37, 0xf37}, {0xf39, 0xf39}, {0xf71, 0xf7e}, {0xf80, 0xf84}, {0xf86,
    0xf87}, {0xf8d, 0xf97}, {0xf99, 0xfbc}, {0xfc6, 0xfc6}, {0x102d, 0x1030}, {0x1032, 0x1037}, {0x1039, 0x103a},
    {0x103d, 0x103e}, {0x1058, 0x1059}, {0x105e, 0x1060}, {0x1071, 0x1074}, {0x1082, 0x1082}, {0x1085, 0x1086}, {0x108d,
    0x108d}, {0x109d, 0x109d}, {0x10fc, 0x10fc}, {0x135d, 0x135f}, {0x1712, 0x1714}, {0x1732, 0x1733}, {0x1752, 0x1753},
    {0x1772, 0x1773}, {0x17b4, 0x17b5}, {0x17b7, 0x17bd}, {0x17c6, 0x17c6}, {0x17c9, 0x17d3}, {0x17d7, 0x17d7}, {0x17dd,
    0x17dd}, {0x180b, 0x180f}, {0x1843, 0x1843}, {0x1885, 0x1886}, {0x18a9, 0x18a9}, {0x1920, 0x1922}, {0x1927, 0x1928},
    {0x1932, 0x1932}, {0x1939, 0x193b}, {0x1a17, 0x1a18}, {0x1a1b, 0x1a1b}, {0x1a56, 0x1a56}, {0x1a58, 0x1a5e}, {0x1a60,
    0x1a60}, {0x1a62, 0x1a62}, {0x1a65, 0x1a6c}, {0x1a73, 0x1a7c}, {0x1a7f, 0x1a7f}, {0x1aa7, 0x1aa7}, {0x1ab0, 0x1ace},
    {0x1b00, 0x1b03}, {0x1b34, 0x1b34}, {0x1b36, 0x1b3a}, {0x1b3c, 0x1b3c}, {0x1b42, 0x1b42}, {0x1b6b, 0x1b73}, {0x1b80,
    0x1b81}, {0x1ba2, 0x1ba5}, {0x1ba8, 0x1ba9}, {0x1bab, 0x1bad}, {0x1be6, 0x1be6}, {0x1be8, 0x1be9}, {0x1bed, 0x1bed},
    {0x1bef, 0x1bf1}, {0x1c2c, 0x1c33}, {0x1c36, 0x1c37}, {0x1c78, 0x1c7d}, {0x1cd0, 0x1cd2}, {0x1cd4, 0x1ce0}, {0x1ce2,
    0x1ce8}, {0x1ced, 0x1ced}, {0x1cf4, 0x1cf4}, {0x1cf8, 0x1cf9}, {0x1d2c, 0x1d6a}, {0x1d78, 0x1d78}, {0x1d9b, 0x1dff},
    {0x1fbd, 0x1fbd}, {0x1fbf, 0x1fc1}, {0x1fcd, 0x1fcf}, {0x1fdd, 0x1fdf}, {0x1fed, 0x1fef}, {0x1ffd, 0x1ffe}, {0x200b,
    0x200f}, {0x2018, 0x2019}, {0x2024, 0x2024}, {0x2027, 0x2027}, {0x202a, 0x202e}, {0x2060, 0x2064}, {0x2066, 0x206f},
    {0x2071, 0x2071}, {0x207f, 0x207f}, {0x2090, 0x209c}, {0x20d0, 0x20f0}, {0x2c7c, 0x2c7d}, {0x2cef, 0x2cf1}, {0x2d6f,
    0x2d6f}, {0x2d7f, 0x2d7f}, {0x2de0, 0x2dff}, {0x2e2f, 0x2e2f}, {0x3005, 0x3005}, {0x302a, 0x302d}, {0x3031, 0x3035},
    {0x303b, 0x303b}, {0x3099, 0x309e}, {0x30fc, 0x30fe}, {0xa015, 0xa015}, {0xa4f8, 0xa4fd}, {0xa60c, 0xa60c}, {0xa66f,
    0xa672}, {0xa674, 0xa67d}, {0xa67f, 0xa67f}, {0xa69c, 0xa69f}, {0xa6f0, 0xa6f1}, {0xa700, 0xa721}, {0xa770, 0xa770},
    {0xa788, 0xa78a}, {0xa7f2, 0xa7f4}, {0xa7f8, 0xa7f9}, {0xa802, 0xa802}, {0xa806, 0xa806}, {0xa80b, 0xa80b}, {0xa825,
    0xa826}, {0xa82c, 0xa82c}, {0xa8c4, 0xa8c5}, {0xa8e0, 0xa8f1}, {0xa8ff, 0xa8ff}, {0xa926, 0xa92d}, {0xa947, 0xa951},
    {0xa980, 0xa982}, {0xa9b3, 0xa9b3}, {0xa9b6, 0xa9b9}, {0xa9bc, 0xa9bd}, {0xa9cf, 0xa9cf}, {0xa9e5, 0xa9e6}, {0xaa29,
    0xaa2e}, {0xaa31, 0xaa32}, {0xaa35, 0xaa36}, {0xaa43, 0xaa43}, {0xaa4c, 0xaa4c}, {0xaa70, 0xaa70}, {0xaa7c, 0xaa7c},
    {0xaab0, 0xaab0}, {0xaab2, 0xaab4}, {0xaab7, 0xaab8}, {0xaabe, 0xaabf}, {0xaac1, 0xaac1}, {0xaadd, 0xaadd}, {0xaaec,
    0xaaed}, {0xaaf3, 0xaaf4}, {0xaaf6, 0xaaf6}, {0xab5b, 0xab5f}, {0xab69, 0xab6b}, {0xabe5, 0xabe5}, {0xabe8, 0xabe8},
    {0xabed, 0xabed}, {0xfb1e, 0xfb1e}, {0xfbb2, 0xfbc2}, {0xfe00, 0xfe0f}, {0xfe13, 0xfe13}, {0xfe20, 0xfe2f}, {0xfe52,
    0xfe52}, {0xfe55, 0xfe55}, {0xfeff, 0xfeff}, {0xff07, 0xff07}, {0xff0e, 0xff0e}, {0xff1a, 0xff1a}, {0xff3e, 0xff3e},
    {0xff40, 0xff40}, {0xff70, 0xff70}, {0xff9e, 0xff9f}, {0xffe3, 0xffe3}, {0xfff9, 0xfffb}, {0x101fd, 0x101fd},
    {0x102e0, 0x102e0}, {0x10376, 0x1037a}, {0x10780, 0x10785}, {0x10787, 0x107b0}, {0x107b2, 0x107ba}, {0x10a01,
    0x10a03}, {0x10a05, 0x10a06}, {0x10a0c, 0x10a0f}, {0x10a38, 0x10a3a}, {0x10a3f, 0x10a3f}, {0x10ae5, 0x10ae6},
    {0x10d24, 0x10d27}, {0x10eab, 0x10eac}, {0x10f46, 0x10f50}, {0x10f82, 0x10f85}, {0x11001, 0x11001}, {0x11038,
    0x11046}, {0x11070, 0x11070}, {0x11073, 0x11074}, {0x1107f, 0x11081}, {0x110b3, 0x110b6}, {0x110b9, 0x110ba},
    {0x110bd, 0x110bd}, {0x110c2, 0x110c2}, {0x110cd, 0x110cd}, {0x11100, 0x11102}, {0x11127, 0x1112b}, {0x1112d,
    0x11134}, {0x11173, 0x11173}, {0x11180, 0x11181}, {0x111b6, 0x111be}, {0x111c9, 0x111cc}, {0x111cf, 0x111cf},
    {0x1122f, 0x11231}, {0x11234, 0x11234}, {0x11236, 0x11237}, {0x1123e, 0x1123e}, {0x112df, 0x112df}, {0x112e3,
    0x112ea}, {0x11300, 0x11301}, {0x1133b, 0x1133c}, {0x11340, 0x11340}, {0x11366, 0x1136c}, {0x11370, 0x11374},
    {0x11438, 0x1143f}, {0x11442, 0x11444}, {0x11446, 0x11446}, {0x1145e, 0x1145e}, {0x114b3, 0x114b8}, {0x114ba,
    0x114ba}, {0x114bf, 0x114c0}, {0x114c2, 0x114c3}, {0x115b2, 0x115b5}, {0x115bc, 0x115bd}, {0x115bf, 0x115c0},
    {0x115dc, 0x115dd}, {0x11633, 0x1163a}, {0x1163d, 0x1163d}, {0x1163f, 0x11640}, {0x116ab, 0x116ab}, {0x116ad,
    0x116ad}, {0x116b0, 0x116b5}, {0x116b7, 0x116b7}, {0x1171d, 0x1171f}, {0x11722, 0x11725}, {0x11727, 0x1172b},
    {0x1182f, 0x11837}, {0x11839, 0x1183a}, {0x1193b, 0x1193c}, {0x1193e, 0x1193e}, {0x11943, 0x11943}, {0x119d4,
    0x119d7}, {0x119da, 0x119db}, {0x119e0, 0x119e0}, {0x11a01, 0x11a0a}, {0x11a33, 0x11a38}, {0x11a3b, 0x11a3e},
    {0x11a47, 0x11a47}, {0x11a51, 0x11a56}, {0x11a59, 0x11a5b}, {0x11a8a, 0x11a96}, {0x11a98, 0x11a99}, {0x11c30,
    0x11c36}, {0x11c38, 0x11c3d}, {0x11c3f, 0x11c3f}, {0x11c92, 0x11ca7}, {0x11caa, 0x11cb0}, {0x11cb2, 0x11cb3},
    {0x11cb5, 0x11cb6}, {0x11d31, 0x11d36}, {0x11d3a, 0x11d3a}, {0x11d3c, 0x11d3d}, {0x11d3f, 0x11d45}, {0x11d47,
    0x11d47}, {0x11d90, 0x11d91}, {0x11d95, 0x11d95}, {0x11d97, 0x11d97}, {0x11ef3, 0x11ef4}, {0x13430, 0x13438},
    {0x16af0, 0x16af4}, {0x16b30, 0x16b36}, {0x16b40, 0x16b43}, {0x16f4f, 0x16f4f}, {0x16f8f, 0x16f9f}, {0x16fe0,
    0x16fe1}, {0x16fe3, 0x16fe4}, {0x1aff0, 0x1aff3}, {0x1aff5, 0x1affb}, {0x1affd, 0x1affe}, {0x1bc9d, 0x1bc9e},
    {0x1bca0, 0x1bca3}, {0x1cf00, 0x1cf2d}, {0x1cf30, 0x1cf46}, {0x1d167, 0x1d169}, {0x1d173, 0x1d182}, {0x1d185,
    0x1d18b}, {0x1d1aa, 0x1d1ad}, {0x1d242, 0x1d244}, {0x1da00, 0x1da36}, {0x1da3b, 0x1da6c}, {0x1da75, 0x1da75},
    {0x1da84, 0x1da84}, {0x1da9b, 0x1da9f}, {0x1daa1, 0x1daaf}, {0x1e000, 0x1e006}, {0x1e008, 0x1e018}, {0x1e01b,
    0x1e021}, {0x1e023, 0x1e024}, {0x1e026, 0x1e02a}, {0x1e130, 0x1e13d}, {0x1e2ae, 0x1e2ae}, {0x1e2ec, 0x1e2ef},
    {0x1e8d0, 0x1e8d6}, {0x1e944, 0x1e94b}, {0x1f3fb, 0x1f3ff}, {0xe0001, 0xe0001}, {0xe0020, 0xe007f}, {0xe0100,
    0xe01ef}};

// Capitals.
inline constexpr LowerCase LOWER_CASES[] = {
    {0x41, 0x5a, 1, 32}, {0xc0, 0xd6, 1, 32}, {0xd8, 0xde, 1, 32}, {0x100, 0x12e, 2, 1}, {0x132, 0x136, 2, 1}, {0x139,
    0x147, 2, 1}, {0x14a, 0x176, 2, 1}, {0x178, 0x178, 1, -121}, {0x179, 0x17d, 2, 1}, {0x181, 0x181, 1, 210}, {0x182,
    0x184, 2, 1}, {0x186, 0x186, 1, 206}, {0x187, 0x187, 1, 1}, {0x189, 0x18a, 1, 205}, {0x18b, 0x18b, 1, 1}, {0x18e,
    0x18e, 1, 79}, {0x18f, 0x18f, 1, 202}, {0x190, 0x190, 1, 203}, {0x191, 0x191, 1, 1}, {0x193, 0x193, 1, 205}, {0x194,
    0x194, 1, 207}, {0x196, 0x196, 1, 211}, {0x197, 0x197, 1, 209}, {0x198, 0x198, 1, 1}, {0x19c, 0x19c, 1, 211},
    {0x19d, 0x19d, 1, 213}, {0x19f, 0x19f, 1, 214}, {0x1a0, 0x1a4, 2, 1}, {0x1a6, 0x1a6, 1, 218}, {0x1a7, 0x1a7, 1, 1},
    {0x1a9, 0x1a9, 1, 218}, {0x1ac, 0x1ac, 1, 1}, {0x1ae, 0x1ae, 1, 218}, {0x1af, 0x1af, 1, 1}, {0x1b1, 0x1b2, 1, 217},
    {0x1b3, 0x1b5, 2, 1}, {0x1b7, 0x1b7, 1, 219}, {0x1b8, 0x1b8, 1, 1}, {0x1bc, 0x1bc, 1, 1}, {0x1c4, 0x1c4, 1, 2},
    {0x1c5, 0x1c5, 1, 1}, {0x1c7, 0x1c7, 1, 2}, {0x1c8, 0x1c8, 1, 1}, {0x1ca, 0x1ca, 1, 2}, {0x1cb, 0x1db, 2, 1},
    {0x1de, 0x1ee, 2, 1}, {0x1f1, 0x1f1, 1, 2}, {0x1f2, 0x1f4, 2, 1}, {0x1f6, 0x1f6, 1, -97}, {0x1f7, 0x1f7, 1, -56},
    {0x1f8, 0x21e, 2, 1}, {0x220, 0x220, 1, -130}, {0x222, 0x232, 2, 1}, {0x23a, 0x23a, 1, 10795}, {0x23b, 0x23b, 1, 1},
    {0x23d, 0x23d, 1, -163}, {0x23e, 0x23e, 1, 10792}, {0x241, 0x241, 1, 1}, {0x243, 0x243, 1, -195}, {0x244, 0x244, 1,
    69}, {0x245, 0x245, 1, 71}, {0x246, 0x24e, 2, 1}, {0x370, 0x372, 2, 1}, {0x376, 0x376, 1, 1}, {0x37f, 0x37f, 1,
    116}, {0x386, 0x386, 1, 38}, {0x388, 0x38a, 1, 37}, {0x38c, 0x38c, 1, 64}, {0x38e, 0x38f, 1, 63}, {0x391, 0x3a1, 1,
    32}, {0x3a4, 0x3ab, 1, 32}, {0x3cf, 0x3cf, 1, 8}, {0x3d8, 0x3ee, 2, 1}, {0x3f4, 0x3f4, 1, -60}, {0x3f7, 0x3f7, 1,
    1}, {0x3f9, 0x3f9, 1, -7}, {0x3fa, 0x3fa, 1, 1}, {0x3fd, 0x3ff, 1, -130}, {0x400, 0x40f, 1, 80}, {0x410, 0x42f, 1,
    32}, {0x460, 0x480, 2, 1}, {0x48a, 0x4be, 2, 1}, {0x4c0, 0x4c0, 1, 15}, {0x4c1, 0x4cd, 2, 1}, {0x4d0, 0x52e, 2, 1},
    {0x531, 0x556, 1, 48}, {0x10a0, 0x10c5, 1, 7264}, {0x10c7, 0x10c7, 1, 7264}, {0x10cd, 0x10cd, 1, 7264}, {0x13a0,
    0x13ef, 1, 38864}, {0x13f0, 0x13f5, 1, 8}, {0x1c90, 0x1cba, 1, -3008}, {0x1cbd, 0x1cbf, 1, -3008}, {0x1e00, 0x1e94,
    2, 1}, {0x1e9e, 0x1e9e, 1, -7615}, {0x1ea0, 0x1efe, 2, 1}, {0x1f08, 0x1f0f, 1, -8}, {0x1f18, 0x1f1d, 1, -8},
    {0x1f28, 0x1f2f, 1, -8}, {0x1f38, 0x1f3f, 1, -8}, {0x1f48, 0x1f4d, 1, -8}, {0x1f59, 0x1f5f, 2, -8}, {0x1f68, 0x1f6f,
    1, -8}, {0x1f88, 0x1f8f, 1, -8}, {0x1f98, 0x1f9f, 1, -8}, {0x1fa8, 0x1faf, 1, -8}, {0x1fb8, 0x1fb9, 1, -8}, {0x1fba,
    0x1fbb, 1, -74}, {0x1fbc, 0x1fbc, 1, -9}, {0x1fc8, 0x1fcb, 1, -86}, {0x1fcc, 0x1fcc, 1, -9}, {0x1fd8, 0x1fd9, 1,
    -8}, {0x1fda, 0x1fdb, 1, -100}, {0x1fe8, 0x1fe9, 1, -8}, {0x1fea, 0x1feb, 1, -112}, {0x1fec, 0x1fec, 1, -7},
    {0x1ff8, 0x1ff9, 1, -128}, {0x1ffa, 0x1ffb, 1, -126}, {0x1ffc, 0x1ffc, 1, -9}, {0x2126, 0x2126, 1, -7517}, {0x212a,
    0x212a, 1, -8383}, {0x212b, 0x212b, 1, -8262}, {0x2132, 0x2132, 1, 28}, {0x2160, 0x216f, 1, 16}, {0x2183, 0x2183, 1,
    1}, {0x24b6, 0x24cf, 1, 26}, {0x2c00, 0x2c2f, 1, 48}, {0x2c60, 0x2c60, 1, 1}, {0x2c62, 0x2c62, 1, -10743}, {0x2c63,
    0x2c63, 1, -3814}, {0x2c64, 0x2c64, 1, -10727}, {0x2c67, 0x2c6b, 2, 1}, {0x2c6d, 0x2c6d, 1, -10780}, {0x2c6e,
    0x2c6e, 1, -10749}, {0x2c6f, 0x2c6f, 1, -10783}, {0x2c70, 0x2c70, 1, -10782}, {0x2c72, 0x2c72, 1, 1}, {0x2c75,
    0x2c75, 1, 1}, {0x2c7e, 0x2c7f, 1, -10815}, {0x2c80, 0x2ce2, 2, 1}, {0x2ceb, 0x2ced, 2, 1}, {0x2cf2, 0x2cf2, 1, 1},
    {0xa640, 0xa66c, 2, 1}, {0xa680, 0xa69a, 2, 1}, {0xa722, 0xa72e, 2, 1}, {0xa732, 0xa76e, 2, 1}, {0xa779, 0xa77b, 2,
    1}, {0xa77d, 0xa77d, 1, -35332}, {0xa77e, 0xa786, 2, 1}, {0xa78b, 0xa78b, 1, 1}, {0xa78d, 0xa78d, 1, -42280},
    {0xa790, 0xa792, 2, 1}, {0xa796, 0xa7a8, 2, 1}, {0xa7aa, 0xa7aa, 1, -42308}, {0xa7ab, 0xa7ab, 1, -42319}, {0xa7ac,
    0xa7ac, 1, -42315}, {0xa7ad, 0xa7ad, 1, -42305}, {0xa7ae, 0xa7ae, 1, -42308}, {0xa7b0, 0xa7b0, 1, -42258}, {0xa7b1,
    0xa7b1, 1, -42282}, {0xa7b2, 0xa7b2, 1, -42261}, {0xa7b3, 0xa7b3, 1, 928}, {0xa7b4, 0xa7c2, 2, 1}, {0xa7c4, 0xa7c4,
    1, -48}, {0xa7c5, 0xa7c5, 1, -42307}, {0xa7c6, 0xa7c6, 1, -35384}, {0xa7c7, 0xa7c9, 2, 1}, {0xa7d0, 0xa7d0, 1, 1},
    {0xa7d6, 0xa7d8, 2, 1}, {0xa7f5, 0xa7f5, 1, 1}, {0xff21, 0xff3a, 1, 32}, {0x10400, 0x10427, 1, 40}, {0x104b0,
    0x104d3, 1, 40}, {0x10570, 0x10594, 2, 39}, {0x10571, 0x10579, 2, 39}, {0x1057d, 0x10589, 2, 39}, {0x1058d, 0x10591,
    2, 39}, {0x10595, 0x10595, 1, 39}, {0x10c80, 0x10cb2, 1, 64}, {0x118a0, 0x118bf, 1, 32}, {0x16e40, 0x16e5f, 1, 32},
    {0x1e900, 0x1e921, 1, 34}};

// clang-format on: made by unicode_tables.py

template <std::size_t N>
bool contains(const Range (&ranges)[N], std::uint32_t code) {
    const auto* after = std::upper_bound(std::begin(ranges), std::end(ranges), code,
                                         [](std::uint32_t c, const Range& range) { return c < range.first; });
    return after != std::begin(ranges) && code <= after[-1].last;
}

inline bool is_blank(std::uint32_t code) { return contains(BLANKS, code); }

inline std::uint32_t lower(std::uint32_t code) {
    const auto* after = std::upper_bound(std::begin(LOWER_CASES), std::end(LOWER_CASES), code,
                                         [](std::uint32_t c, const LowerCase& range) { return c < range.first; });
    while (after != std::begin(LOWER_CASES)) {
        const LowerCase& range = *--after;
        if (code <= range.last && (code - range.first) % range.step == 0) {
            return static_cast<std::uint32_t>(static_cast<std::int32_t>(code) + range.shift);
        }
        if (code - range.first > 512) break;  // no range is longer
    }
    return code;
}

// Return a text in lower case, as Python's str.lower() does.
inline std::string lower(std::string_view text) {
    const std::vector<std::uint32_t> codes = characters(text);
    std::string out;
    out.reserve(text.size());
    for (std::size_t i = 0; i < codes.size(); ++i) {
        if (codes[i] == 0x3A3) {  // capital sigma has another small letter at the end of a word
            std::size_t before = i, after = i + 1;
            while (before > 0 && contains(CASE_IGNORED, codes[before - 1])) --before;
            while (after < codes.size() && contains(CASE_IGNORED, codes[after])) ++after;
            const bool ends = before > 0 && contains(CASED, codes[before - 1]) &&
                              (after == codes.size() || !contains(CASED, codes[after]));
            append_utf8(out, ends ? 0x3C2 : 0x3C3);
        } else if (codes[i] == 0x130) {  // the only capital whose small letter is two characters
            out += "i\xCC\x87";
        } else {
            append_utf8(out, lower(codes[i]));
        }
    }
    return out;
}

// ------------------------------------------------------------------------------------------------------ Tokenizers

// Return a text without whitespace around it, as Python's `str.strip`.
inline std::string_view stripped(std::string_view text) {
    std::size_t begin = text.size(), end = 0;
    for (std::size_t at = 0; at < text.size();) {
        const auto [code, length] = first_character(text.substr(at));
        if (!is_blank(code)) begin = std::min(begin, at), end = at + length;
        at += length;
    }
    return begin < end ? text.substr(begin, end - begin) : std::string_view();
}

// A text as tokens, and each of them as the text spells it.
struct Source {
    Ids ids;
    std::vector<std::string> pieces;
};

// Ids in, whole characters of text out. `finish` returns what is still held back.
class StreamDecoder {
public:
    virtual ~StreamDecoder() = default;
    virtual std::string push(std::int32_t id) = 0;
    virtual std::string finish() = 0;
};

class Tokenizer {
public:
    virtual ~Tokenizer() = default;
    virtual std::size_t size() const = 0;
    virtual Ids encode(std::string_view text) const = 0;
    virtual std::string token_text(std::int32_t id) const = 0;

    // Encode a text with each character or word that is not known as one unknown token.
    virtual Source encode_whole(std::string_view text) const {
        Source source{encode(text), {}};
        for (const std::int32_t id : source.ids) source.pieces.emplace_back(stripped(token_text(id)));
        return source;
    }

    // `after` is the text that the ids continue.
    virtual std::unique_ptr<StreamDecoder> stream_decoder(std::string_view after) const = 0;

    std::string decode(const Ids& ids, std::string_view after) const {
        const auto decoder = stream_decoder(after);
        std::string text;
        for (const std::int32_t id : ids) text += decoder->push(id);
        return text + decoder->finish();
    }

    void check(std::int32_t id) const {
        if (id < 0 || static_cast<std::size_t>(id) >= size()) {
            fail("an id must be at least 0 and below the vocabulary size ", size(), ", was: ", id);
        }
    }
};

// Tokens that each stand for some bytes of UTF-8.
class BytesDecoder : public StreamDecoder {
public:
    BytesDecoder(const Tokenizer& tokenizer, const std::vector<std::string>& token_bytes)
        : tokenizer_(tokenizer), token_bytes_(token_bytes) {}

    std::string push(std::int32_t id) override {
        tokenizer_.check(id);
        return utf8_.push(token_bytes_[static_cast<std::size_t>(id)]);
    }

    std::string finish() override { return utf8_.finish(); }

protected:
    const Tokenizer& tokenizer_;
    const std::vector<std::string>& token_bytes_;
    Utf8Decoder utf8_;
};

// One token a character; unknown characters are spelled by the hexadecimal digits of their bytes.
class CharTokenizer : public Tokenizer {
public:
    static constexpr std::int32_t FIRST_DIGIT = 4, FIRST_CHARACTER = 20;

    CharTokenizer(const Json& file, const std::string& place) : token_bytes_(FIRST_CHARACTER) {
        token_bytes_[UNKNOWN_ID] = REPLACEMENT;
        const auto codes = characters(file.at<std::string>("characters", place));
        for (const std::uint32_t code : codes) {
            const auto id = static_cast<std::int32_t>(token_bytes_.size());
            if (!ids_.emplace(code, id).second) fail(place, ": characters must be distinct; train again");
            if (code < ascii_.size()) ascii_[code] = id;
            append_utf8(token_bytes_.emplace_back(), code);
        }
    }

    std::size_t size() const override { return token_bytes_.size(); }

    Ids encode(std::string_view text) const override {
        check_text(text);
        Ids ids;
        ids.reserve(text.size());
        for (std::size_t at = 0; at < text.size();) {
            const auto [code, length] = first_character(text.substr(at));
            const std::int32_t id = code < ascii_.size() ? ascii_[code] : id_of(code);
            if (id) {
                ids.push_back(id);
            } else {
                for (const char c : text.substr(at, length)) {
                    const auto byte = static_cast<unsigned char>(c);
                    ids.push_back(FIRST_DIGIT + (byte >> 4));
                    ids.push_back(FIRST_DIGIT + (byte & 15));
                }
            }
            at += length;
        }
        return ids;
    }

    Source encode_whole(std::string_view text) const override {
        check_text(text);
        Source source;
        for (std::size_t at = 0; at < text.size();) {
            const auto [code, length] = first_character(text.substr(at));
            const std::int32_t id = id_of(code);
            source.ids.push_back(id ? id : UNKNOWN_ID);
            source.pieces.emplace_back(text.substr(at, length));
            at += length;
        }
        return source;
    }

    std::string token_text(std::int32_t id) const override {
        check(id);
        if (id < FIRST_DIGIT) return SPECIAL_TOKENS[static_cast<std::size_t>(id)];
        if (id >= FIRST_CHARACTER) return token_bytes_[static_cast<std::size_t>(id)];
        return std::string("<hex ") + "0123456789abcdef"[id - FIRST_DIGIT] + ">";
    }

    std::unique_ptr<StreamDecoder> stream_decoder(std::string_view) const override {
        return std::make_unique<Decoder>(*this, token_bytes_);
    }

private:
    // Joins two digits to a byte. A digit without a second one is a byte that UTF-8 never has.
    class Decoder : public BytesDecoder {
    public:
        using BytesDecoder::BytesDecoder;

        std::string push(std::int32_t id) override {
            if (id < FIRST_DIGIT || id >= FIRST_CHARACTER) {
                const std::string lone = id == UNKNOWN_ID || id > END_ID ? lone_digit() : "";
                return lone + BytesDecoder::push(id);
            }
            if (high_ < 0) {
                high_ = id - FIRST_DIGIT;
                return "";
            }
            const char byte = static_cast<char>(high_ << 4 | (id - FIRST_DIGIT));
            high_ = -1;
            return utf8_.push({&byte, 1});
        }

        std::string finish() override {
            const std::string lone = lone_digit();
            return lone + BytesDecoder::finish();
        }

    private:
        std::string lone_digit() {
            if (high_ < 0) return "";
            high_ = -1;
            return utf8_.push("\xFF");
        }

        std::int32_t high_ = -1;
    };

    std::int32_t id_of(std::uint32_t code) const {
        const auto found = ids_.find(code);
        return found == ids_.end() ? 0 : found->second;
    }

    std::vector<std::string> token_bytes_;
    std::unordered_map<std::uint32_t, std::int32_t> ids_;
    std::array<std::int32_t, 128> ascii_{};
};

// One token a word and one a newline.
class WordTokenizer : public Tokenizer {
public:
    WordTokenizer(const Json& file, const std::string& place) : tokens_(SPECIAL_TOKENS.begin(), SPECIAL_TOKENS.end()) {
        lower_ = file.at<bool>("lowercase", place);
        const auto& split = file.at<std::string>("split", place);
        by_rule_ = split == "punctuation";
        if (!by_rule_ && split != "space") {
            fail(place, ": split must be one of space, punctuation, was: ", split, "; export the bundle again");
        }
        tokens_.push_back("\n");
        ids_["\n"] = END_ID + 1;
        for (const Json& item : file.at<Json::Array>("words", place)) {
            const auto* word = item.get<std::string>();
            if (!word) fail(place, ": words must be strings; train again");
            const auto codes = characters(*word);
            if (codes.empty() || *word == "<unk>" || std::any_of(codes.begin(), codes.end(), is_blank)) {
                fail(place, ": words must not be empty, hold whitespace or be <unk>; train again");
            }
            if (!ids_.emplace(*word, static_cast<std::int32_t>(tokens_.size())).second) {
                fail(place, ": words must be distinct; train again");
            }
            tokens_.push_back(*word);
        }
    }

    std::size_t size() const override { return tokens_.size(); }

    Ids encode(std::string_view text) const override {
        check_text(text);
        std::string lowered;
        if (lower_) text = lowered = lower(text);
        Ids ids;
        std::string word;
        for (std::size_t at = 0; next_word(text, at, word);) {
            const auto found = ids_.find(word);
            ids.push_back(found == ids_.end() ? UNKNOWN_ID : found->second);
        }
        return ids;
    }

    Source encode_whole(std::string_view text) const override {
        Source source{encode(text), {}};
        const std::string read = lower_ ? lower(text) : std::string(text);
        if (count_characters(read) != count_characters(text)) text = read;  // else places are shifted
        std::string word;
        for (std::size_t at = 0, before = 0, written = 0; next_word(read, at, word); before = at) {
            const std::size_t begin = written;
            for (std::size_t left = count_characters(std::string_view(read).substr(before, at - before)); left; --left) {
                written += first_character(text.substr(written)).second;
            }
            source.pieces.emplace_back(stripped(text.substr(begin, written - begin)));
        }
        return source;
    }

    std::string token_text(std::int32_t id) const override {
        check(id);
        return tokens_[static_cast<std::size_t>(id)];
    }

    std::unique_ptr<StreamDecoder> stream_decoder(std::string_view after) const override {
        return std::make_unique<Decoder>(*this, after);
    }

private:
    static bool is_han(std::uint32_t code) {
        static constexpr Range HAN[] = {{0x2E80, 0x2FD5}, {0x3005, 0x3005}, {0x3007, 0x3007},
                                        {0x3021, 0x3029}, {0x3038, 0x303B}, {0x3400, 0x4DBF},
                                        {0x4E00, 0x9FFF}, {0xF900, 0xFAFF}, {0x20000, 0x3FFFF}};
        return contains(HAN, code);
    }

    static bool among(std::string_view word, std::string_view characters) {
        return !word.empty() && first_character(word).second == word.size() &&
               characters.find(word) != std::string_view::npos;
    }

    static bool is_wide(std::string_view word) {
        return !word.empty() && first_character(word).second == word.size() &&
               (is_han(first_character(word).first) ||
                among(word, "，。、；：？！（）《》〈〉「」『』【】〔〕“”‘’…—·～．"));
    }

    static bool is_word_character(std::uint32_t code) {
        return (contains(LETTERS, code) && !is_han(code)) || contains(MARKS, code);
    }

    // Set `word` to the first word from `at` on, and `at` to its end; return whether there is one.
    bool next_word(std::string_view text, std::size_t& at, std::string& word) const {
        while (at < text.size()) {
            const std::size_t begin = at;
            const auto [code, length] = first_character(text.substr(at));
            at += length;
            if (code != '\n' && is_blank(code)) continue;
            const auto extend = [&](bool (*belongs)(std::uint32_t)) {
                while (at < text.size()) {
                    const auto [next, bytes] = first_character(text.substr(at));
                    if (!belongs(next)) break;
                    at += bytes;
                }
            };
            if (code == '\n') {
                // A word by itself.
            } else if (!by_rule_) {
                extend([](std::uint32_t c) { return !is_blank(c); });
            } else if (text.substr(begin, 5) == "<unk>") {
                at = begin + 5;
            } else if (is_word_character(code)) {
                extend(is_word_character);
            }
            word.assign(text.substr(begin, at - begin));
            return true;
        }
        return false;
    }

    // Puts spaces before words.
    class Decoder : public StreamDecoder {
    public:
        Decoder(const WordTokenizer& tokenizer, std::string_view after) : tokenizer_(tokenizer) {
            std::size_t begin = 0;
            for (std::size_t at = 0; tokenizer.next_word(after, at, last_);) begin = at;
            if (after.empty()) return;
            // After the last word, only whitespace is left.
            ends_with_space_ = begin < after.size() || last_ == "\n";
        }

        std::string push(std::int32_t id) override {
            tokenizer_.check(id);
            if (id == PAD_ID || id == BEGINNING_ID || id == END_ID) return "";
            const std::string& word = tokenizer_.tokens_[static_cast<std::size_t>(id)];
            const std::string space = ends_with_space_ || are_close(last_, word) ? "" : " ";
            last_ = word, ends_with_space_ = false;
            return space + word;
        }

        std::string finish() override {
            last_ = "\n", ends_with_space_ = false;
            return "";
        }

    private:
        bool are_close(const std::string& left, const std::string& right) const {
            if (left == "\n" || right == "\n") return true;
            return tokenizer_.by_rule_ && (among(right, ".,;:!?)]}…，。、；：？！）》〉」』】〕") ||
                                           among(left, "([{（《〈「『【〔") || (is_wide(left) && is_wide(right)));
        }

        const WordTokenizer& tokenizer_;
        std::string last_ = "\n";
        bool ends_with_space_ = true;
    };

    std::vector<std::string> tokens_;
    std::unordered_map<std::string, std::int32_t> ids_;
    bool lower_ = false, by_rule_ = false;
};

// Subwords of a SentencePiece model as textrnn trains it: unigram or BPE, not normalised, unknown characters as bytes.
class SentencePieceTokenizer : public Tokenizer {
public:
    SentencePieceTokenizer(std::string_view file, const std::string& place) : place_(place) {
        static constexpr std::string_view HEADER = "textrnn-sentencepiece 1 ";
        const std::size_t begin = HEADER.size() + 65;
        if (file.substr(0, HEADER.size()) != HEADER || file.size() < begin || file[begin - 1] != '\n') {
            damaged("its first line must name the format and version 1");
        }
        const std::string_view model = file.substr(begin);
        if (sha256(model) != file.substr(HEADER.size(), 64)) damaged("it must match the SHA-256 in its first line");
        bool bytes_fall_back = false, dummy_prefix = true, extra_whitespace = true, escape = true, has_map = false;
        std::uint64_t type = UNIGRAM;
        for_each_field(model, [&](std::uint64_t field, std::uint64_t, std::string_view content) {
            if (field == 1) {
                add_piece(content);
            } else if (field == 2) {
                for_each_field(content, [&](std::uint64_t name, std::uint64_t value, std::string_view) {
                    if (name == 3) type = value;
                    if (name == 35) bytes_fall_back = value;
                });
            } else if (field == 3) {
                for_each_field(content, [&](std::uint64_t name, std::uint64_t value, std::string_view map) {
                    if (name == 2) has_map = !map.empty();
                    if (name == 3) dummy_prefix = value;
                    if (name == 4) extra_whitespace = value;
                    if (name == 5) escape = value;
                });
            }
        });
        if (type != UNIGRAM && type != BPE) damaged("its model must be unigram or BPE");
        is_bpe_ = type == BPE;
        has_space_ = find(SPACE) >= 0;
        if (!bytes_fall_back || dummy_prefix || extra_whitespace || !escape || has_map || byte_ids_.size() != 256 ||
            token_bytes_.size() < SPECIAL_TOKENS.size()) {
            damaged("its model must have the bytes and the normaliser of textrnn");
        }
    }

    std::size_t size() const override { return token_bytes_.size(); }

    Ids encode(std::string_view text) const override {
        check_text(text);
        Ids ids;
        for (std::size_t at = 0; at < text.size();) {
            std::string part;  // characters that pieces may have, with the symbol for spaces; at most PART of them
            std::size_t count = 0;
            while (at < text.size() && count < PART) {
                const auto [code, length] = first_character(text.substr(at));
                if (is_apart(code)) break;
                part += code == ' ' ? SPACE : text.substr(at, length);
                at += length, ++count;
            }
            if (!part.empty()) is_bpe_ ? encode_bpe(part, ids) : encode_unigram(part, ids);
            while (at < text.size()) {
                const auto [code, length] = first_character(text.substr(at));
                if (!is_apart(code)) break;
                spell(text.substr(at, length), ids);
                at += length;
            }
        }
        return ids;
    }

    std::string token_text(std::int32_t id) const override {
        check(id);
        return token_texts_[static_cast<std::size_t>(id)];
    }

    std::unique_ptr<StreamDecoder> stream_decoder(std::string_view) const override {
        return std::make_unique<BytesDecoder>(*this, token_bytes_);
    }

private:
    static constexpr std::uint64_t UNIGRAM = 1, BPE = 2;                            // types of model
    static constexpr std::uint64_t NORMAL = 1, UNKNOWN = 2, CONTROL = 3, BYTE = 6;  // types of piece
    static constexpr std::string_view SPACE = "\xE2\x96\x81";  // SentencePiece's symbol for a space
    static constexpr std::size_t PART = 65536;
    static constexpr float UNKNOWN_PENALTY = 10;

    [[noreturn]] void damaged(const char* rule) const {
        fail(place_, " is no SentencePiece tokenizer that can be read: ", rule, "; copy it again or train again");
    }

    // Control characters and two characters that SentencePiece reserves are always spelled as bytes.
    // So is a space if no piece is a space alone.
    bool is_apart(std::uint32_t code) const {
        return code < 0x20 || code == 0x7F || code == 0x2581 || code == 0x2585 || (code == ' ' && !has_space_);
    }

    // Call use(field, number, content) for each field of a protocol buffer.
    template <class Use>
    void for_each_field(std::string_view data, Use use) const {
        std::size_t at = 0;
        const auto number = [&] {
            std::uint64_t value = 0;
            for (unsigned shift = 0; shift < 64; shift += 7) {
                if (at >= data.size()) damaged("it must hold a whole SentencePiece model");
                const auto byte = static_cast<unsigned char>(data[at++]);
                value |= static_cast<std::uint64_t>(byte & 127) << shift;
                if (byte < 128) return value;
            }
            damaged("it must hold a whole SentencePiece model");
        };
        while (at < data.size()) {
            const std::uint64_t key = number();
            const auto wire = key & 7;
            std::uint64_t value = 0, size = wire == 1 ? 8 : wire == 5 ? 4 : 0;
            if (wire == 0) value = number();
            if (wire == 2) size = number();
            if ((wire != 0 && wire != 1 && wire != 2 && wire != 5) || size > data.size() - at) {
                damaged("it must hold a whole SentencePiece model");
            }
            use(key >> 3, value, data.substr(at, static_cast<std::size_t>(size)));
            at += static_cast<std::size_t>(size);
        }
    }

    void add_piece(std::string_view content) {
        std::string piece;
        float score = 0;
        std::uint64_t type = NORMAL;
        for_each_field(content, [&](std::uint64_t name, std::uint64_t value, std::string_view bytes) {
            if (name == 1) piece = bytes;
            if (name == 3) type = value;
            if (name == 2 && bytes.size() == 4) {
                std::uint32_t bits = 0;
                for (std::size_t i = 4; i-- > 0;) bits = bits << 8 | static_cast<unsigned char>(bytes[i]);
                std::memcpy(&score, &bits, sizeof score);
            }
        });
        const std::size_t id = token_bytes_.size();
        if (piece.empty() || first_invalid(piece) != std::string_view::npos) damaged("its pieces must be text");
        std::string text;
        for (std::size_t at = 0; at < piece.size();) {
            const bool is_space = piece.compare(at, SPACE.size(), SPACE) == 0;
            text += is_space ? ' ' : piece[at];
            at += is_space ? SPACE.size() : 1;
        }
        if (id < SPECIAL_TOKENS.size()) {
            if (piece != SPECIAL_TOKENS[id] || type != (id == UNKNOWN_ID ? UNKNOWN : CONTROL)) {
                damaged("its model must have the special tokens of textrnn");
            }
            token_bytes_.push_back(id == UNKNOWN_ID ? REPLACEMENT : "");
        } else if (type == BYTE) {
            const auto byte = byte_ids_.size();
            const auto digit = [](std::size_t value) { return "0123456789ABCDEF"[value]; };
            if (byte > 255 || piece != std::string("<0x") + digit(byte >> 4) + digit(byte & 15) + ">") {
                damaged("its model must have the bytes of textrnn");
            }
            byte_ids_.push_back(static_cast<std::int32_t>(id));
            token_bytes_.emplace_back(1, static_cast<char>(byte));
        } else if (type == NORMAL) {
            lowest_ = std::min(lowest_, score);
            std::uint32_t node = 0;
            for (const char c : piece) {
                const auto [found, is_new] = children_.emplace(child_key(node, c), nodes_.size());
                if (is_new) nodes_.push_back(-1);
                node = found->second;
            }
            if (nodes_[node] >= 0) damaged("its pieces must be distinct");
            nodes_[node] = static_cast<std::int32_t>(id);
            token_bytes_.push_back(text);
        } else {
            damaged("its pieces must be normal ones");
        }
        token_texts_.push_back(text);
        scores_.push_back(score);
    }

    static std::uint64_t child_key(std::uint32_t node, char byte) {
        return static_cast<std::uint64_t>(node) << 8 | static_cast<unsigned char>(byte);
    }

    void spell(std::string_view bytes, Ids& ids) const {
        for (const char byte : bytes) ids.push_back(byte_ids_[static_cast<unsigned char>(byte)]);
    }

    // Return the id of a piece, -1 if there is none.
    std::int32_t find(std::string_view piece) const {
        std::uint32_t node = 0;
        for (const char c : piece) {
            const auto found = children_.find(child_key(node, c));
            if (found == children_.end()) return -1;
            node = found->second;
        }
        return nodes_[node];
    }

    // Append the most probable pieces (Kudo, 2018); sums are rounded to float32 as in SentencePiece.
    void encode_unigram(std::string_view text, Ids& ids) const {
        struct End {  // the best path to a position: where its last piece begins, and which it is (-1: unknown)
            std::size_t begin = std::string_view::npos;
            std::int32_t id = -1;
            float score = 0;
        };
        std::vector<End> ends(text.size() + 1);
        const auto offer = [&ends](std::size_t begin, std::size_t end, std::int32_t id, double score) {
            score += static_cast<double>(ends[begin].score);
            if (ends[end].begin == std::string_view::npos || score > static_cast<double>(ends[end].score)) {
                ends[end] = {begin, id, static_cast<float>(score)};
            }
        };
        for (std::size_t begin = 0; begin < text.size();) {
            const std::size_t length = first_character(text.substr(begin)).second;
            bool is_known = false;
            std::uint32_t node = 0;
            for (std::size_t end = begin; end < text.size();) {
                const auto found = children_.find(child_key(node, text[end++]));
                if (found == children_.end()) break;
                node = found->second;
                const std::int32_t id = nodes_[node];
                if (id < 0) continue;
                offer(begin, end, id, static_cast<double>(scores_[static_cast<std::size_t>(id)]));
                is_known = is_known || end == begin + length;
            }
            if (!is_known) offer(begin, begin + length, -1, static_cast<double>(lowest_ - UNKNOWN_PENALTY));
            begin += length;
        }
        std::vector<std::size_t> path;  // ends of pieces, the last first
        for (std::size_t end = text.size(); end > 0; end = ends[end].begin) path.push_back(end);
        for (; !path.empty(); path.pop_back()) {
            const End& end = ends[path.back()];
            if (end.id >= 0) {
                ids.push_back(end.id);
            } else {
                spell(text.substr(end.begin, path.back() - end.begin), ids);
            }
        }
    }

    // Append the pieces of byte pair encoding: the pair with the highest score is merged first, the leftmost of equals.
    void encode_bpe(std::string_view text, Ids& ids) const {
        constexpr auto NONE = std::string_view::npos;
        struct Symbol {
            std::size_t begin, size, before, after;
        };
        struct Pair {
            float score;
            std::size_t left, right, size;
            bool operator<(const Pair& other) const {
                return score != other.score ? score < other.score : left > other.left;
            }
        };
        std::vector<Symbol> symbols;
        for (std::size_t at = 0; at < text.size();) {
            const std::size_t length = first_character(text.substr(at)).second;
            const std::size_t number = symbols.size();
            symbols.push_back({at, length, number ? number - 1 : NONE, at + length < text.size() ? number + 1 : NONE});
            at += length;
        }
        std::priority_queue<Pair> pairs;
        const auto offer = [&](std::size_t left, std::size_t right) {
            if (left == NONE || right == NONE) return;
            const std::size_t size = symbols[left].size + symbols[right].size;
            const std::int32_t id = find(text.substr(symbols[left].begin, size));
            if (id >= 0) pairs.push({scores_[static_cast<std::size_t>(id)], left, right, size});
        };
        for (std::size_t i = 1; i < symbols.size(); ++i) offer(i - 1, i);
        while (!pairs.empty()) {
            const Pair best = pairs.top();
            pairs.pop();
            Symbol &left = symbols[best.left], &right = symbols[best.right];
            if (!left.size || !right.size || left.size + right.size != best.size) continue;  // merged already
            left.size = best.size;
            left.after = right.after;
            if (right.after != NONE) symbols[right.after].before = best.left;
            right.size = 0;
            offer(left.before, best.left);
            offer(best.left, left.after);
        }
        for (std::size_t i = 0; i != NONE; i = symbols[i].after) {
            const std::string_view piece = text.substr(symbols[i].begin, symbols[i].size);
            if (const std::int32_t id = find(piece); id >= 0) {
                ids.push_back(id);
            } else {
                spell(piece, ids);
            }
        }
    }

    std::string place_;
    bool is_bpe_ = false, has_space_ = true;
    std::vector<std::string> token_bytes_, token_texts_;
    std::vector<float> scores_;
    float lowest_ = std::numeric_limits<float>::max();
    Ids byte_ids_;
    std::vector<std::int32_t> nodes_ = {-1};  // of a trie of the pieces: the id of the piece that ends here, or -1
    std::unordered_map<std::uint64_t, std::uint32_t> children_;
};

// -------------------------------------------------------------------------------------------------------- Sampling

// The random numbers of numpy.random.Generator(numpy.random.PCG64([seed, stream])).
class Random {
public:
    Random(std::uint64_t seed, std::uint32_t stream) {
        std::vector<std::uint32_t> entropy = {static_cast<std::uint32_t>(seed)};
        if (seed >> 32) entropy.push_back(static_cast<std::uint32_t>(seed >> 32));
        entropy.push_back(stream);
        std::uint32_t constant = 0x43b0d7e5;
        const auto hashed = [&constant](std::uint32_t value) {
            value ^= constant;
            constant *= 0x931e8875;
            value *= constant;
            return value ^ value >> 16;
        };
        std::array<std::uint32_t, 4> pool;
        for (std::size_t i = 0; i < 4; ++i) pool[i] = hashed(i < entropy.size() ? entropy[i] : 0);
        for (std::size_t from = 0; from < 4; ++from) {
            for (std::size_t to = 0; to < 4; ++to) {
                if (from == to) continue;
                const std::uint32_t mixed = 0xca01f9ddu * pool[to] - 0x4973f715u * hashed(pool[from]);
                pool[to] = mixed ^ mixed >> 16;
            }
        }
        constant = 0x8b51f9dd;
        std::array<std::uint64_t, 4> words{};
        for (std::size_t i = 0; i < 8; ++i) {
            std::uint32_t value = pool[i % 4] ^ constant;
            constant *= 0x58f38ded;
            value *= constant;
            value ^= value >> 16;
            words[i / 2] |= static_cast<std::uint64_t>(value) << (i % 2 ? 32 : 0);
        }
        increment_ = {words[2] << 1 | words[3] >> 63, words[3] << 1 | 1};
        step();
        add(state_, {words[0], words[1]});
        step();
    }

    // Return the next number in [0, 1).
    double next() {
        step();
        const std::uint64_t folded = state_.high ^ state_.low;
        const auto turn = static_cast<unsigned>(state_.high >> 58);
        const std::uint64_t bits = turn ? folded >> turn | folded << (64 - turn) : folded;
        return static_cast<double>(bits >> 11) * (1.0 / 9007199254740992.0);
    }

private:
    struct Wide {
        std::uint64_t high, low;
    };

    static void add(Wide& sum, Wide other) {
        sum.low += other.low;
        sum.high += other.high + (sum.low < other.low);
    }

    void step() {
        constexpr Wide FACTOR = {2549297995355413924u, 4865540595714422341u};
        const std::uint64_t a = state_.low >> 32, b = state_.low & 0xFFFFFFFF;
        const std::uint64_t c = FACTOR.low >> 32, d = FACTOR.low & 0xFFFFFFFF;
        const std::uint64_t middle = a * d + (b * d >> 32), cross = b * c + (middle & 0xFFFFFFFF);
        const std::uint64_t carried = a * c + (middle >> 32) + (cross >> 32);
        state_ = {carried + state_.high * FACTOR.low + state_.low * FACTOR.high, state_.low * FACTOR.low};
        add(state_, increment_);
    }

    Wide state_ = {0, 0}, increment_ = {0, 0};
};

// Return the highest of some logits, which must be finite.
template <class Number>
double highest(const std::vector<Number>& logits) {
    double high = -INFINITE;
    for (const Number logit : logits) {
        if (std::isnan(logit)) high = std::numeric_limits<double>::quiet_NaN();
        if (std::isnan(high)) break;
        high = std::max(high, static_cast<double>(logit));
    }
    if (high == -INFINITE) fail("at least one token must be allowed, none was; loosen the options");
    if (!std::isfinite(high)) {
        fail("logits must be finite numbers, the highest was: ", high, "; the model is damaged, train it again");
    }
    return high;
}

// Return log softmax, in nats.
template <class Number>
std::vector<double> log_softmax(const std::vector<Number>& logits) {
    const double high = highest(logits);
    double total = 0;
    std::vector<double> out(logits.begin(), logits.end());
    for (double& value : out) total += std::exp(value -= high);
    for (double& value : out) value -= std::log(total);
    return out;
}

// Return positions in descending order of values; the lower position first among equals.
inline std::vector<std::size_t> descending(const std::vector<double>& values) {
    std::vector<std::size_t> order(values.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return values[a] > values[b]; });
    return order;
}

}  // namespace detail

// Options of text generation; the names and defaults of the Python package.
struct GenerateOptions {
    int length = 200;                   // maximum number of tokens
    double temperature = 1;             // lower is more predictable, higher more random; 0 is greedy
    int top_k = 0;                      // keep the k most probable tokens; 0 keeps all
    double top_p = 1;                   // keep the fewest tokens with this total probability; 1 keeps all
    double min_p = 0;                   // drop tokens below this fraction of the top token's probability
    double repetition_penalty = 1;      // above 1, tokens already in the text become less probable
    int beams = 1;                      // above 1, beam search of this width instead of sampling
    std::vector<std::string> stop;      // strings that end the text; they are not part of it
    std::optional<std::uint64_t> seed;  // the same seed gives the same text; none: a new one each time
    std::uint32_t stream = 0;           // another text of the same seed: Python's `samples` gives streams 0, 1, ...
};

// How well a language model predicts a text.
struct Score {
    double nats = 0;  // negative log-likelihood of the text
    std::size_t tokens = 0, characters = 0, bytes = 0;

    double nats_per_token() const { return nats / static_cast<double>(std::max<std::size_t>(tokens, 1)); }
    double perplexity() const { return std::exp(std::min(nats_per_token(), 700.0)); }
    double bits_per_character() const {
        return nats / std::log(2.0) / static_cast<double>(std::max<std::size_t>(characters, 1));
    }
    double bits_per_byte() const { return nats / std::log(2.0) / static_cast<double>(std::max<std::size_t>(bytes, 1)); }
};

// What a classifier says of a text or of a sequence of vectors.
struct Prediction {
    std::string label;                  // the most probable class; of several labels the first, or empty
    double probability = 0;             // of `label`
    std::vector<std::string> labels;    // the predicted labels, the most probable first: one, except with several
    std::vector<double> probabilities;  // in the order of Model::labels()
    std::size_t tokens = 0;             // of the text
    std::size_t tokens_read = 0;        // fewer if the text was cut in the middle
};

// Options of a model from a text to another.
struct TransformOptions {
    int beams = 4;                         // hypotheses of the search, and candidates at most; 1 is greedy and fastest
    std::optional<double> length_penalty;  // 0 prefers short outputs, 1 compares means; none: that of the model
    bool align = false;                    // whether candidates have their alignments
};

// Which source tokens each output token was made from.
struct Alignment {
    std::vector<std::string> source, output;  // tokens
    std::vector<std::vector<float>> weights;  // attention to each source token at each output token
};

// A possible output of a text.
struct Candidate {
    std::string text;
    double score = 0;     // log-probability in nats, divided by the number of tokens to the power of the length penalty
    double log_prob = 0;  // of the whole output
    Alignment alignment;  // with the option `align`
};

// The output of a model from a text to another.
struct Translation {
    std::vector<Candidate> candidates;  // the best first, at least one
    std::size_t tokens = 0;             // of the source
    bool is_whole = false;              // false where the output was cut at the bound on its length
    bool is_longer = false;             // the source has more tokens than any in training: the output is uncertain

    const std::string& text() const { return candidates.front().text; }
};

namespace detail {

inline void check_options(const GenerateOptions& options) {
    if (options.length < 0) fail("length must be 0 or above, was: ", options.length, "; give a number of tokens");
    if (!(options.temperature >= 0 && std::isfinite(options.temperature))) {
        fail("temperature must be 0 or above, was: ", options.temperature,
             "; use 0.2 to 1.2 for most text, 0 for the most probable token");
    }
    if (options.top_k < 0) fail("top_k must be 0 or above, was: ", options.top_k, "; use 0 to keep all tokens");
    if (!(options.top_p > 0 && options.top_p <= 1)) {
        fail("top_p must be above 0 and at most 1, was: ", options.top_p, "; use 1 to keep all tokens");
    }
    if (!(options.min_p >= 0 && options.min_p <= 1)) {
        fail("min_p must be between 0 and 1, was: ", options.min_p, "; use 0 to keep all tokens");
    }
    if (!(options.repetition_penalty > 0 && std::isfinite(options.repetition_penalty))) {
        fail("repetition_penalty must be above 0, was: ", options.repetition_penalty,
             "; use 1 for none, 1.1 to 1.3 for less repetition");
    }
    if (options.beams < 1) fail("beams must be 1 or above, was: ", options.beams, "; use 1 to sample");
    const bool samples = options.temperature != 1 || options.top_k || options.top_p != 1 || options.min_p != 0 ||
                         options.repetition_penalty != 1;
    if (options.beams > 1 && samples) {
        fail("beam search does not sample, a sampling option was given; use beams or sampling options");
    }
    for (const std::string& stop : options.stop) {
        if (stop.empty()) fail("stop must be strings of at least one character, one was empty; leave it out");
        check_text(stop);
    }
}

// Choose a token from `logits`, which are changed: textrnn/sampling.py defines each transform.
inline std::int32_t sample(std::vector<double>& logits, const GenerateOptions& options, double uniform,
                           const std::vector<bool>& seen) {
    const double penalty = options.repetition_penalty;
    if (penalty != 1) {
        for (std::size_t i = 0; i < logits.size(); ++i) {
            if (seen[i]) logits[i] = logits[i] > 0 ? logits[i] / penalty : logits[i] * penalty;
        }
    }
    double high = highest(logits);
    if (options.temperature == 0) {
        return static_cast<std::int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
    }
    if (options.temperature != 1) {
        for (double& logit : logits) logit = (logit - high) / options.temperature;
        high = 0;
    }
    const auto k = static_cast<std::size_t>(options.top_k);
    if (k && k < logits.size()) {
        std::vector<double> sorted = logits;
        const auto kth = sorted.begin() + to_signed(k - 1);
        std::nth_element(sorted.begin(), kth, sorted.end(), std::greater<>());
        // Among equal logits the lower id comes first.
        auto room = to_signed(k) - std::count_if(sorted.begin(), kth, [&](double logit) { return logit > *kth; });
        for (double& logit : logits) {
            if (!(logit > *kth || (logit == *kth && room-- > 0))) logit = -INFINITE;
        }
    }
    if (options.top_p < 1) {
        const std::vector<std::size_t> order = descending(logits);
        std::vector<double> cumulative;
        double total = 0;
        for (const std::size_t i : order) cumulative.push_back(total += std::exp(logits[i] - high));
        for (std::size_t rank = 1; rank < order.size(); ++rank) {
            if (!(cumulative[rank - 1] < options.top_p * total)) logits[order[rank]] = -INFINITE;
        }
    }
    if (options.min_p > 0) {
        const double lowest = high + std::log(options.min_p);
        for (double& logit : logits) logit = logit >= lowest ? logit : -INFINITE;
    }
    double total = 0;
    for (double& logit : logits) logit = total += std::exp(logit - high);
    const auto found = std::upper_bound(logits.begin(), logits.end(), uniform * total);
    return static_cast<std::int32_t>(found - logits.begin());
}

// A streamed text: it ends before the first complete stop string, and never shows a part of one.
class Text {
public:
    Text(const Tokenizer& tokenizer, std::string_view prompt, const std::vector<std::string>& stop)
        : decoder_(tokenizer.stream_decoder(prompt)), stop_(stop) {}

    // Add a token; return the text that is now final and not part of a stop string.
    std::string push(std::int32_t id) { return ended_ ? "" : release(decoder_->push(id)); }

    // End the text and return the rest of it.
    std::string end() {
        if (ended_) return "";
        std::string piece = release(decoder_->finish());
        if (!ended_) piece += held_;
        ended_ = true;
        return piece;
    }

    bool ended() const { return ended_; }

private:
    std::string release(std::string piece) {
        if (stop_.empty()) return piece;
        const std::string text = held_ + piece;
        std::pair<std::size_t, std::size_t> first = {std::string::npos, 0};  // end and begin of a stop string
        std::size_t longest = 0;
        for (const std::string& stop : stop_) {
            const std::size_t begin = text.find(stop);
            if (begin != std::string::npos) first = std::min(first, {begin + stop.size(), begin});
            for (std::size_t size = std::min(text.size(), stop.size() - 1); size > longest; --size) {
                if (text.compare(text.size() - size, size, stop, 0, size) == 0) longest = size;
            }
        }
        if (first.first != std::string::npos) {
            ended_ = true;
            return text.substr(0, first.second);
        }
        held_ = text.substr(text.size() - longest);
        return text.substr(0, text.size() - longest);
    }

    std::unique_ptr<StreamDecoder> decoder_;
    const std::vector<std::string>& stop_;
    std::string held_;  // final text that may be the beginning of a stop string
    bool ended_ = false;
};

// ----------------------------------------------------------------------------------------------------- onnxruntime

constexpr std::uint32_t ORT_VERSION_NEEDED = 13;  // of the interface; every later library has it

inline const OrtApi& ort() {
    static const OrtApi* const api = OrtGetApiBase()->GetApi(ORT_VERSION_NEEDED);
    if (!api) {
        fail("onnxruntime must be 1.", ORT_VERSION_NEEDED, " or later, was: ", OrtGetApiBase()->GetVersionString(),
             "; upgrade it");
    }
    return *api;
}

// Throw an Error if a call failed: `rule` is what should have been.
inline void check(OrtStatus* status, const std::string& rule) {
    if (!status) return;
    std::string reason = ort().GetErrorMessage(status);
    ort().ReleaseStatus(status);
    std::replace(reason.begin(), reason.end(), '\n', ' ');
    fail(rule, ", onnxruntime ", OrtGetApiBase()->GetVersionString(), " says: ", reason.substr(0, 300),
         "; export the bundle again");
}

template <class T>
using Owned = std::unique_ptr<T, void (*)(T*)>;

using Value = Owned<OrtValue>;

struct TensorInfo {
    std::string name, dtype;
    std::vector<std::string> shape;  // numbers, and names of dynamic dimensions

    bool operator==(const TensorInfo& other) const {
        return name == other.name && dtype == other.dtype && shape == other.shape;
    }
};

inline std::string shown(const std::vector<TensorInfo>& tensors) {
    std::string text;
    for (const TensorInfo& tensor : tensors) {
        text += (text.empty() ? "" : ", ") + tensor.name + " " + tensor.dtype + " (";
        for (std::size_t i = 0; i < tensor.shape.size(); ++i) text += (i ? ", " : "") + tensor.shape[i];
        text += ")";
    }
    return text;
}

// A tensor over numbers of the caller, which must outlive it.
template <class T>
Value tensor(std::vector<T>& numbers, const std::vector<std::int64_t>& shape) {
    static const Owned<OrtMemoryInfo> memory = [] {
        OrtMemoryInfo* info = nullptr;
        check(ort().CreateCpuMemoryInfo(OrtDeviceAllocator, OrtMemTypeDefault, &info), "memory must be described");
        return Owned<OrtMemoryInfo>(info, ort().ReleaseMemoryInfo);
    }();
    constexpr auto type = std::is_same_v<T, float>    ? ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT
                          : std::is_same_v<T, double> ? ONNX_TENSOR_ELEMENT_DATA_TYPE_DOUBLE
                                                      : ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32;
    OrtValue* value = nullptr;
    check(ort().CreateTensorWithDataAsOrtValue(memory.get(), numbers.data(), numbers.size() * sizeof(T), shape.data(),
                                               shape.size(), type, &value),
          "a tensor must be made");
    return Value(value, ort().ReleaseValue);
}

// A graph of a bundle, loaded. Several threads may run it at once.
class Session {
public:
    Session(const std::filesystem::path& path, int threads) : path_(as_utf8(path)), session_(nullptr, nullptr) {
        static const Owned<OrtEnv> environment = [] {
            OrtEnv* made = nullptr;
            check(ort().CreateEnv(ORT_LOGGING_LEVEL_FATAL, "textrnn", &made), "onnxruntime must start");
            return Owned<OrtEnv>(made, ort().ReleaseEnv);
        }();
        OrtSessionOptions* made = nullptr;
        check(ort().CreateSessionOptions(&made), "a session must have options");
        const Owned<OrtSessionOptions> options(made, ort().ReleaseSessionOptions);
        check(ort().SetIntraOpNumThreads(made, threads), "threads must be set");
        check(ort().SetInterOpNumThreads(made, 1), "threads must be set");
        check(ort().SetSessionLogSeverityLevel(made, ORT_LOGGING_LEVEL_FATAL), "messages must be off");
        OrtSession* session = nullptr;
        check(ort().CreateSession(environment.get(), path.c_str(), made, &session), path_ + " must be loaded");
        session_ = Owned<OrtSession>(session, ort().ReleaseSession);
        std::size_t count = 0;
        check(ort().SessionGetInputCount(session, &count), "inputs must be counted");
        for (std::size_t i = 0; i < count; ++i) {
            inputs_.push_back(described(i, ort().SessionGetInputName, ort().SessionGetInputTypeInfo));
        }
        check(ort().SessionGetOutputCount(session, &count), "outputs must be counted");
        for (std::size_t i = 0; i < count; ++i) {
            outputs_.push_back(described(i, ort().SessionGetOutputName, ort().SessionGetOutputTypeInfo));
        }
        for (const TensorInfo& input : inputs_) input_names_.push_back(input.name.c_str());
        for (const TensorInfo& output : outputs_) output_names_.push_back(output.name.c_str());
    }

    const std::vector<TensorInfo>& inputs() const { return inputs_; }
    const std::vector<TensorInfo>& outputs() const { return outputs_; }

    // Run the graph on tensors in the order of its inputs and outputs; the outputs are written in place.
    template <std::size_t In, std::size_t Out>
    void run(const std::array<const OrtValue*, In>& inputs, std::array<OrtValue*, Out> outputs) const {
        check(ort().Run(session_.get(), nullptr, input_names_.data(), inputs.data(), In, output_names_.data(), Out,
                        outputs.data()),
              path_ + " must run");
    }

private:
    template <class GetName, class GetType>
    TensorInfo described(std::size_t index, GetName get_name, GetType get_type) const {
        OrtAllocator* allocator = nullptr;
        check(ort().GetAllocatorWithDefaultOptions(&allocator), "memory must be given");
        char* name = nullptr;
        check(get_name(session_.get(), index, allocator, &name), "a tensor must have a name");
        TensorInfo info{name, "another type", {}};
        check(ort().AllocatorFree(allocator, name), "memory must be freed");
        OrtTypeInfo* type = nullptr;
        check(get_type(session_.get(), index, &type), "a tensor must have a type");
        const Owned<OrtTypeInfo> owned(type, ort().ReleaseTypeInfo);
        const OrtTensorTypeAndShapeInfo* tensor = nullptr;
        check(ort().CastTypeInfoToTensorInfo(type, &tensor), "a tensor must have a type");
        if (!tensor) return info;
        ONNXTensorElementDataType element{};
        check(ort().GetTensorElementType(tensor, &element), "a tensor must have a type");
        if (element == ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32) info.dtype = "int32";
        if (element == ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT) info.dtype = "float32";
        if (element == ONNX_TENSOR_ELEMENT_DATA_TYPE_DOUBLE) info.dtype = "float64";
        std::size_t dimensions = 0;
        check(ort().GetDimensionsCount(tensor, &dimensions), "a tensor must have a shape");
        std::vector<std::int64_t> sizes(dimensions);
        std::vector<const char*> names(dimensions);
        check(ort().GetDimensions(tensor, sizes.data(), dimensions), "a tensor must have a shape");
        check(ort().GetSymbolicDimensions(tensor, names.data(), dimensions), "a tensor must have a shape");
        for (std::size_t i = 0; i < dimensions; ++i) {
            info.shape.push_back(sizes[i] < 0 ? std::string(names[i]) : joined(sizes[i]));
        }
        return info;
    }

    std::string path_;
    Owned<OrtSession> session_;
    std::vector<TensorInfo> inputs_, outputs_;
    std::vector<const char*> input_names_, output_names_;
};

// ---------------------------------------------------------------------------------------------------------- Bundle

// A bundle folder whose manifest and files were checked: nothing outside it is ever read.
class Bundle {
public:
    explicit Bundle(const std::filesystem::path& path) : folder_(found(path)), place_(as_utf8(folder_ / MANIFEST)) {
        try {
            read();
        } catch (const std::filesystem::filesystem_error& error) {
            fail(as_utf8(folder_), " could not be read: ", error.code().message(), "; check its permissions");
        }
    }

    const Json& manifest() const { return manifest_; }
    const std::string& place() const { return place_; }
    const std::string& kind() const { return manifest_.at<std::string>("kind", place_); }
    bool reads_text() const { return manifest_.find("tokenizer") && !manifest_.find("tokenizer")->is_null(); }

    const Json& graphs() const { return *manifest_.find("graphs"); }

    // Return a whole number of the section `runtime`.
    std::int64_t runtime_number(std::string_view name, std::int64_t low) const {
        const auto value = runtime().at<std::int64_t>(name, place_);
        if (value < low || value > std::numeric_limits<std::int32_t>::max()) {
            fail(place_, ": runtime.", name, " must be ", low, " to 2147483647, was: ", value,
                 "; export the bundle again");
        }
        return value;
    }

    const Json& runtime() const { return *manifest_.find("runtime"); }

    std::string contents(const std::string& name, std::uintmax_t most) const {
        const std::filesystem::path path = folder_ / name;
        if (std::filesystem::file_size(path) > most) {
            fail(as_utf8(path), " must have at most ", most, " bytes, has more; export the bundle again");
        }
        std::ifstream file(path, std::ios::binary);
        std::string data((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
        if (!file.eof() && !file) fail(as_utf8(path), " could not be read; check its permissions");
        return data;
    }

    std::unique_ptr<Tokenizer> tokenizer() const { return tokenizer(*manifest_.find("tokenizer"), ""); }

    // Return the tokenizer of targets, or null where it is that of the sources.
    std::unique_ptr<Tokenizer> target_tokenizer() const {
        const Json& entry = target_entry();
        const auto& file = entry.at<std::string>("file", place_);
        const bool is_shared = file == manifest_.find("tokenizer")->at<std::string>("file", place_);
        return is_shared ? nullptr : tokenizer(entry, "target_");
    }

    std::unique_ptr<Tokenizer> tokenizer(const Json& entry, const std::string& prefix) const {
        const auto& kind = entry.at<std::string>("kind", place_);
        const auto& name = entry.at<std::string>("file", place_);
        const std::string expected = prefix + (kind == "sentencepiece" ? "tokenizer.model" : "tokenizer.json");
        if (kind != "char" && kind != "word" && kind != "sentencepiece") {
            fail(place_, ": a tokenizer kind must be one of char, word, sentencepiece, was: ", kind,
                 "; update textrnn.hpp");
        }
        if (name != expected) fail(place_, ": the tokenizer must be in ", expected, ", it is in ", name);
        const std::string place = as_utf8(folder_ / name), file = contents(name, 1 << 28);
        if (kind == "sentencepiece") return std::make_unique<SentencePieceTokenizer>(file, place);
        const Json document = Json::parse(file, place);
        if (document.at<std::int64_t>("format_version", place) != 1 ||
            document.at<std::string>("kind", place) != kind) {
            fail(place, " must be a ", kind, " tokenizer of format version 1, it is not; export the bundle again");
        }
        if (kind == "char") return std::make_unique<CharTokenizer>(document, place);
        return std::make_unique<WordTokenizer>(document, place);
    }

    // Load a graph; its inputs and outputs must be those of its use, and have the types and shapes of the manifest.
    std::unique_ptr<Session> session(const std::string& use, int threads) const {
        static const std::array<std::pair<const char*, std::array<std::vector<std::string>, 2>>, 9> contracts = {{
            {"text step", {{{"ids", "state"}, {"logits", "next_state"}}}},
            {"text sequence", {{{"ids", "state"}, {"logits", "next_state"}}}},
            {"text classify", {{{"ids"}, {"logits"}}}},
            {"text encode", {{{"ids"}, {"keys", "values", "mask", "state"}}}},
            {"text decode",
             {{{"ids", "state", "keys", "values", "mask"}, {"logits", "attention", "next_state"}}}},
            {"vectors classify", {{{"vectors", "lengths"}, {"logits"}}}},
            {"vectors regress", {{{"vectors", "lengths"}, {"values"}}}},
            {"vectors step", {{{"vectors", "state"}, {"forecast", "next_state"}}}},
            {"vectors sequence", {{{"vectors", "state"}, {"forecast", "next_state"}}}},
        }};
        const Json* graph = graphs().find(use);
        if (!graph) fail(place_, ": a ", kind(), " must have a ", use, " graph, it has none; export the bundle again");
        const std::filesystem::path path = folder_ / graph->at<std::string>("file", place_);
        auto loaded = std::make_unique<Session>(path, threads);
        const std::string name = (reads_text() ? "text " : "vectors ") + use;
        const auto contract =
            std::find_if(contracts.begin(), contracts.end(), [&](auto& c) { return c.first == name; });
        for (std::size_t side = 0; side < 2; ++side) {
            const char* what = side ? "outputs" : "inputs";
            const auto declared = declared_tensors(*graph, what);
            const auto& actual = side ? loaded->outputs() : loaded->inputs();
            std::vector<std::string> names;
            for (const TensorInfo& tensor : declared) names.push_back(tensor.name);
            if (names != contract->second[side] || declared != actual) {
                fail(as_utf8(path), " must have the ", what, " of its manifest: ", shown(declared),
                     ", has: ", shown(actual), "; export the bundle again");
            }
        }
        return loaded;
    }

    // Return a fixed dimension of a graph of the manifest.
    std::size_t dimension(const std::string& use, const char* what, std::size_t tensor, std::size_t axis) const {
        const Json* graph = graphs().find(use);
        const auto declared = graph ? declared_tensors(*graph, what) : std::vector<TensorInfo>();
        if (tensor < declared.size() && axis < declared[tensor].shape.size()) {
            const std::string& size = declared[tensor].shape[axis];
            if (!size.empty() && size.size() < 9 && size.find_first_not_of("0123456789") == std::string::npos) {
                if (const unsigned long value = std::stoul(size)) return value;
            }
        }
        fail(place_, ": graphs.", use, ".", what, " must have a number of dimensions ", axis, " of tensor ", tensor,
             ", it has none; export the bundle again");
    }

private:
    static constexpr const char* MANIFEST = "manifest.json";

    static std::filesystem::path found(const std::filesystem::path& path) {
        std::error_code ignored;
        for (const auto& folder : {path, path / "bundle"}) {
            if (std::filesystem::is_regular_file(folder / MANIFEST, ignored)) return folder;
        }
        fail("a model must be a folder with manifest.json or bundle/manifest.json in it, was: ", as_utf8(path),
             "; check the name, or export it: textrnn export RUN --out FOLDER");
    }

    void read() {
        check_inside(MANIFEST);
        manifest_ = Json::parse(contents(MANIFEST, 16'000'000), place_);
        if (!manifest_.get<Json::Object>() || !manifest_.find("format") ||
            !manifest_.find("format")->get<std::string>() ||
            *manifest_.find("format")->get<std::string>() != "textrnn-bundle") {
            fail(place_, " must have \"format\": \"textrnn-bundle\", it has not; it belongs to something else");
        }
        const auto version = manifest_.at<std::int64_t>("format_version", place_);
        if (version != 1) {
            fail(place_, " must have format version 1, has: ", version, "; ",
                 version > 1 ? "update textrnn.hpp" : "export the bundle again");
        }
        const auto& precision = manifest_.at<std::string>("precision", place_);
        if (precision != "float32" && precision != "int8") {
            fail(place_, ": precision must be one of float32, int8, was: ", precision, "; update textrnn.hpp");
        }
        kind();
        manifest_.at<Json::Object>("runtime", place_);
        const auto& graphs = manifest_.at<Json::Object>("graphs", place_);
        const auto& files = manifest_.at<Json::Object>("files", place_);
        for (const auto& [name, entry] : files) check_file(name, entry);
        const auto listed = [&](const std::string& name) {
            return std::any_of(files.begin(), files.end(), [&](const auto& file) { return file.first == name; });
        };
        const auto require_listed = [&](const std::string& name) {
            if (!listed(name)) fail(place_, ": files must list every file in use, ", name, " is missing; export again");
        };
        if (reads_text()) {
            manifest_.at<Json::Object>("tokenizer", place_);
            require_listed(manifest_.find("tokenizer")->at<std::string>("file", place_));
        }
        if (kind() == "text_to_text") require_listed(target_entry().at<std::string>("file", place_));
        for (const auto& [use, graph] : graphs) {
            const auto& name = graph.at<std::string>("file", place_);
            require_listed(name);
            check_weights(name, listed);
        }
    }

    const Json& target_entry() const {
        runtime().at<Json::Object>("target_tokenizer", place_);
        return *runtime().find("target_tokenizer");
    }

    static bool is_plain(const std::string& name) {
        const auto may = [](char c, const char* more) {
            return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                   (c && std::strchr(more, c));
        };
        return !name.empty() && may(name[0], "_") && name != MANIFEST &&
               std::all_of(name.begin(), name.end(), [&](char c) { return may(c, "_.-"); });
    }

    void check_inside(const std::string& name) const {
        const std::filesystem::path real = std::filesystem::canonical(folder_ / name);
        if (real.parent_path() != std::filesystem::canonical(folder_)) {
            fail(as_utf8(folder_ / name), " must lie in the bundle, it is a link to: ", as_utf8(real),
                 "; put the file itself there");
        }
    }

    void check_file(const std::string& name, const Json& entry) const {
        if (!is_plain(name)) {
            fail("a file of a bundle must have a plain name of letters, digits, '.', '_' and '-', was: ",
                 replace_invalid(name.substr(0, 60)), "; export the bundle again");
        }
        const std::filesystem::path path = folder_ / name;
        const std::string shown = as_utf8(path);
        if (!std::filesystem::exists(path)) fail(shown, " is missing, the manifest lists it; copy the bundle again");
        check_inside(name);
        if (!std::filesystem::is_regular_file(path)) fail(shown, " must be a file, it is not; copy the bundle again");
        const auto size = std::filesystem::file_size(path);
        const auto bytes = entry.at<std::int64_t>("bytes", place_);
        if (bytes < 0 || size != static_cast<std::uintmax_t>(bytes)) {
            fail(shown, " must have ", bytes, " bytes as the manifest says, has ", size,
                 "; it was cut short or replaced, copy or export the bundle again");
        }
        std::ifstream file(path, std::ios::binary);
        std::vector<char> block(1 << 16);
        Sha256 hash;
        while (file) {
            file.read(block.data(), static_cast<std::streamsize>(block.size()));
            hash.add(block.data(), static_cast<std::size_t>(file.gcount()));
        }
        if (hash.hex() != entry.at<std::string>("sha256", place_)) {
            fail(shown, " must have the SHA-256 that the manifest says, it has another; ",
                 "it was changed or swapped, copy or export the bundle again");
        }
    }

    // A graph stores the place of a tensor as the pair of strings "location" and a file name. The file must be of the
    // bundle: older onnxruntime follows a reference to any file.
    template <class Listed>
    void check_weights(const std::string& graph, Listed listed) const {
        static constexpr std::string_view LOCATION = "location";
        const std::string data = contents(graph, std::numeric_limits<std::uintmax_t>::max());
        for (std::size_t at = data.find(LOCATION); at != std::string::npos; at = data.find(LOCATION, at + 1)) {
            const std::string_view rest = std::string_view(data).substr(at + LOCATION.size());
            std::string name;
            if (at >= 2 && data.compare(at - 2, 2, "\x0A\x08") == 0 && rest.size() >= 2 && rest[0] == 0x12 &&
                static_cast<unsigned char>(rest[1]) < 128) {
                name = rest.substr(2, static_cast<unsigned char>(rest[1]));
            }
            if (!listed(name)) {
                fail(as_utf8(folder_ / graph), " must take its weights from the bundle, refers to: '",
                     replace_invalid(name), "'; get the bundle again from its source");
            }
        }
    }

    std::vector<TensorInfo> declared_tensors(const Json& graph, const char* what) const {
        std::vector<TensorInfo> tensors;
        for (const Json& item : graph.at<Json::Array>(what, place_)) {
            TensorInfo tensor{item.at<std::string>("name", place_), item.at<std::string>("dtype", place_), {}};
            for (const Json& size : item.at<Json::Array>("shape", place_)) {
                const auto* number = size.get<std::int64_t>();
                const auto* name = size.get<std::string>();
                if (!number && !name) fail(place_, ": shape must hold numbers and names; export the bundle again");
                tensor.shape.push_back(number ? joined(*number) : *name);
            }
            tensors.push_back(std::move(tensor));
        }
        return tensors;
    }

    std::filesystem::path folder_;
    std::string place_;
    Json manifest_;
};

// Call use(rows, padded) for batches of sequences of similar length, the shortest first. A batch has at most `room`
// numbers or tokens with padding, or one sequence.
template <class Padded, class Use>
void for_each_batch(const std::vector<std::size_t>& lengths, std::size_t room, Padded padded, Use use) {
    std::vector<std::size_t> order(lengths.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::stable_sort(order.begin(), order.end(), [&](auto a, auto b) { return lengths[a] < lengths[b]; });
    for (auto begin = order.begin(); begin != order.end();) {
        auto end = begin + 1;
        while (end != order.end() && static_cast<std::size_t>(end + 1 - begin) * padded(lengths[*end]) <= room) ++end;
        use(std::vector<std::size_t>(begin, end), padded(lengths[end[-1]]));
        begin = end;
    }
}

}  // namespace detail

// A model of a bundle, of any kind. The functions of another kind of model throw an Error. It can be neither copied nor
// moved; keep it in a std::unique_ptr where that is needed.
class Model {
public:
    // Text of a stream: whole characters that will not change. Returning false ends the text.
    using Callback = std::function<bool(std::string_view piece)>;

    // Load a bundle, or the bundle of a run folder, and check its files. `threads` are those of one operation; small
    // models are fastest with 1.
    explicit Model(const std::filesystem::path& folder, int threads = 1) : bundle_(folder), threads_(threads) {
        using namespace detail;
        if (threads < 1) fail("threads must be 1 or above, was: ", threads, "; use 1 for small models");
        if (bundle_.reads_text()) tokenizer_ = bundle_.tokenizer();
        if (const Json* labels = bundle_.manifest().find("labels"); labels && labels->get<Json::Array>()) {
            for (const Json& label : *labels->get<Json::Array>()) {
                const auto* name = label.get<std::string>();
                if (!name) fail(bundle_.place(), ": labels must be strings; export the bundle again");
                labels_.push_back(*name);
            }
        }
        if (kind() == "language_model") {
            load_language_model();
        } else if (kind() == "forecaster") {
            state_layers_ = bundle_.dimension("step", "inputs", 1, 0);
            state_width_ = bundle_.dimension("step", "inputs", 1, 2);
            horizon_ = bundle_.dimension("sequence", "outputs", 0, 2);
            features_ = bundle_.dimension("sequence", "outputs", 0, 3);
            session(SEQUENCE);
        } else if (kind() == "text_to_text") {
            load_translator();
        } else {
            const Use use = kind() == "regressor" ? REGRESS : CLASSIFY;
            if (kind() != "classifier" && kind() != "multilabel_classifier" && kind() != "vector_classifier" &&
                kind() != "regressor") {
                fail(bundle_.place(), ": kind must be one that this version knows, was: ", kind(),
                     "; update textrnn.hpp");
            }
            outputs_ = bundle_.dimension(NAMES[use], "outputs", 0, 1);
            if (use == CLASSIFY && (labels_.empty() || labels_.size() != outputs_)) {
                fail(bundle_.place(), ": a classifier must have as many labels as logits, has ", labels_.size(),
                     " and ", outputs_, "; export the bundle again");
            }
            if ((tokenizer_ != nullptr) != (kind() == "classifier" || kind() == "multilabel_classifier")) {
                fail(bundle_.place(), ": a ", kind(), tokenizer_ ? " must not" : " must",
                     " have a tokenizer; export the bundle again");
            }
            if (tokenizer_) {
                max_length_ = static_cast<std::size_t>(bundle_.runtime_number("max_length", 2));
                segment_length_ = static_cast<std::size_t>(bundle_.runtime_number("segment_length", 0));
                if (kind() == "multilabel_classifier") load_thresholds();
            } else {
                features_ = bundle_.dimension(NAMES[use], "inputs", 0, 2);
                shortest_ = static_cast<std::size_t>(bundle_.runtime_number("stride", 1));
                const auto hidden = static_cast<std::size_t>(bundle_.runtime_number("hidden_dim", 1));
                room_ = std::max<std::size_t>(1, BATCH_VALUES / std::max(features_, hidden));
            }
            session(use);
        }
    }

    // "language_model", "classifier", "multilabel_classifier", "vector_classifier", "regressor", "forecaster" or
    // "text_to_text".
    const std::string& kind() const { return bundle_.kind(); }

    // Classes of a classifier; empty for other models.
    const std::vector<std::string>& labels() const { return labels_; }

    // Numbers of a step of a model of vectors, and steps that a forecaster predicts at once.
    std::size_t features() const { return features_; }
    std::size_t horizon() const { return horizon_; }

    // Return the ids of a text, without special tokens.
    Ids encode(std::string_view text) const { return tokenizer().encode(text); }

    // Return the text of ids. `after` is the text that they continue, which is not repeated.
    std::string decode(const Ids& ids, std::string_view after = "") const { return tokenizer().decode(ids, after); }

    // Return a token for people: its text, or its name in angle brackets.
    std::string token_text(std::int32_t id) const { return tokenizer().token_text(id); }

    // Return a continuation of `prompt`, without the prompt. `callback` gets its pieces as they are generated.
    std::string generate(std::string_view prompt, const GenerateOptions& options = {},
                         const Callback& callback = {}) const {
        using namespace detail;
        require("language_model", "generate");
        check_options(options);
        const Ids prompt_ids = tokenizer_->encode(prompt);
        Ids ids = {start_id_};
        ids.insert(ids.end(), prompt_ids.begin(), prompt_ids.end());
        const std::int32_t last = ids.back();
        ids.pop_back();
        std::vector<float> state = read_prompt(ids);
        Text text(*tokenizer_, prompt, options.stop);
        std::string whole;
        const auto emit = [&](const std::string& piece) {
            whole += piece;
            return piece.empty() || !callback || callback(piece);
        };
        if (options.beams > 1) {
            std::string found;
            for (const std::int32_t id : search(last, state, options, prompt)) found += text.push(id);
            emit(found + text.end());
            return whole;
        }
        Random random(options.seed ? *options.seed : new_seed(), options.stream);
        std::vector<bool> seen(tokenizer_->size());
        for (const std::int32_t id : prompt_ids) seen[static_cast<std::size_t>(id)] = true;
        Stepper stepper(*this, state);
        std::vector<double> logits;
        std::int32_t id = last;
        for (int i = 0; i < options.length && !text.ended(); ++i) {
            const std::vector<float>& read = stepper.read(id);
            logits.assign(read.begin(), read.end());
            for (const std::size_t never : never_drawn_) logits[never] = -INFINITE;
            id = sample(logits, options, random.next(), seen);
            if (id == END_ID) break;
            seen[static_cast<std::size_t>(id)] = true;
            if (!emit(text.push(id))) return whole;
        }
        emit(text.end());
        return whole;
    }

    // Measure how well a language model predicts a text. Each token counts once; the first follows the start token.
    Score score(std::string_view text) const {
        using namespace detail;
        require("language_model", "score");
        const Ids targets = tokenizer_->encode(text);
        Score score{0, targets.size(), count_characters(text), text.size()};
        Ids inputs = {start_id_};
        inputs.insert(inputs.end(), targets.begin(), targets.end());
        inputs.pop_back();
        if (targets.empty()) return score;
        std::size_t position = 0;
        std::vector<float> state = zero_state();
        const std::size_t chunk = std::clamp<std::size_t>((1u << 23) / tokenizer_->size(), 1, 1024);
        read_sequence(inputs, state, chunk, [&](const float* logits, std::size_t steps) {
            for (std::size_t i = 0; i < steps; ++i, ++position, logits += tokenizer_->size()) {
                const float high = *std::max_element(logits, logits + tokenizer_->size());
                double total = 0;
                for (std::size_t j = 0; j < tokenizer_->size(); ++j)
                    total += static_cast<double>(std::exp(logits[j] - high));
                score.nats += std::log(total) - static_cast<double>(logits[targets[position]] - high);
            }
        });
        return score;
    }

    // Return the `top` most probable tokens after a text and their probabilities, the highest first.
    std::vector<std::pair<std::string, double>> next_probs(std::string_view text, std::size_t top = 10) const {
        using namespace detail;
        require("language_model", "next_probs");
        if (!top) fail("top must be 1 or above, was: 0; give a number of tokens");
        Ids ids = {start_id_};
        const Ids given = tokenizer_->encode(text);
        ids.insert(ids.end(), given.begin(), given.end());
        std::vector<float> state = zero_state();
        std::vector<float> last;
        read_sequence(ids, state, prefill_chunk(), [&](const float* logits, std::size_t steps) {
            last.assign(logits + (steps - 1) * tokenizer_->size(), logits + steps * tokenizer_->size());
        });
        std::vector<double> probabilities = log_softmax(last);
        for (double& value : probabilities) value = std::exp(value);
        const std::vector<std::size_t> order = descending(probabilities);
        std::vector<std::pair<std::string, double>> best;
        for (std::size_t i = 0; i < std::min(top, order.size()); ++i) {
            best.emplace_back(tokenizer_->token_text(static_cast<std::int32_t>(order[i])), probabilities[order[i]]);
        }
        return best;
    }

    // Predict the label of each text. Of a long text, the first and last tokens are read.
    std::vector<Prediction> classify(const std::vector<std::string>& texts) const {
        using namespace detail;
        if (!tokenizer_ || labels_.empty()) wrong_kind("classify", "classifier of texts");
        std::vector<Ids> encoded;
        std::vector<std::size_t> lengths;
        for (const std::string& text : texts) {
            encoded.push_back(tokenizer_->encode(text));
            lengths.push_back(std::min(encoded.back().size(), max_length_));
        }
        std::vector<Prediction> predictions(texts.size());
        const auto padded = [this](std::size_t length) { return padded_length(length); };
        for_each_batch(lengths, BATCH_TOKENS, padded, [&](const std::vector<std::size_t>& rows, std::size_t time) {
            Ids ids(rows.size() * time, PAD_ID);
            for (std::size_t i = 0; i < rows.size(); ++i) {
                const Ids& all = encoded[rows[i]];
                const auto tail = detail::to_signed(all.size() > max_length_ ? max_length_ / 2 : 0);
                const auto head = detail::to_signed(lengths[rows[i]]) - tail;
                auto out = std::copy_n(all.begin(), head, ids.begin() + detail::to_signed(i * time));
                std::copy(all.end() - tail, all.end(), out);
            }
            std::vector<float> logits(rows.size() * outputs_);
            const auto batch = detail::to_signed(rows.size());
            const Value in = tensor(ids, {batch, detail::to_signed(time)});
            const Value out = tensor(logits, {batch, detail::to_signed(outputs_)});
            session(CLASSIFY).run<1, 1>({in.get()}, {out.get()});
            for (std::size_t i = 0; i < rows.size(); ++i) {
                Prediction& prediction = predictions[rows[i]];
                prediction = predicted(logits.data() + i * outputs_);
                prediction.tokens = encoded[rows[i]].size();
                prediction.tokens_read = lengths[rows[i]];
            }
        });
        return predictions;
    }

    // Return the output for each text, by beam search.
    std::vector<Translation> transform(const std::vector<std::string>& texts,
                                       const TransformOptions& options = {}) const {
        using namespace detail;
        require("text_to_text", "transform");
        if (options.beams < 1) fail("beams must be 1 or above, was: ", options.beams, "; 4 is usual, 1 is greedy");
        std::vector<Source> sources;
        std::vector<std::size_t> lengths;
        for (const std::string& text : texts) {
            check_text(text);
            sources.push_back(tokenizer_->encode_whole(stripped(text)));
            lengths.push_back(sources.back().ids.size());
            if (!lengths.back()) fail("a source must have text, text ", sources.size(), " has none; leave it out");
        }
        std::vector<Translation> found(texts.size());
        const auto padded = [](std::size_t length) { return length; };
        for_each_batch(lengths, BATCH_SOURCES, padded, [&](const std::vector<std::size_t>& rows, std::size_t time) {
            std::vector<const Source*> batch;
            for (const std::size_t row : rows) batch.push_back(&sources[row]);
            const auto hypotheses = search_targets(batch, time, options);
            for (std::size_t i = 0; i < rows.size(); ++i) {
                Translation& translation = found[rows[i]];
                for (const Hypothesis& each : hypotheses[i]) {
                    translation.candidates.push_back({written(each, *batch[i]), each.score, each.log_prob, {}});
                    if (options.align) translation.candidates.back().alignment = aligned(each, *batch[i]);
                }
                translation.tokens = lengths[rows[i]];
                translation.is_whole = hypotheses[i].front().is_whole;
                translation.is_longer = translation.tokens > longest_source_;
            }
        });
        return found;
    }

    // Predict the label of each record: its numbers step after step, features() of them a step; of an image its rows.
    std::vector<Prediction> classify_vectors(const std::vector<std::vector<float>>& records) const {
        require("vector_classifier", "classify_vectors");
        std::vector<Prediction> predictions;
        for (const auto& logits : read_vectors(CLASSIFY, records)) predictions.push_back(predicted(logits.data()));
        return predictions;
    }

    // Predict the values of each record, in the units of the targets; records as in `classify_vectors`.
    std::vector<std::vector<float>> predict(const std::vector<std::vector<float>>& records) const {
        require("regressor", "predict");
        return read_vectors(REGRESS, records);
    }

    // Forecast the `steps` after a history, the latest last; both have features() numbers a step. 0 steps: horizon().
    std::vector<float> forecast(const std::vector<float>& history, std::size_t steps = 0) const {
        using namespace detail;
        require("forecaster", "forecast");
        check_vectors(history, "the history");
        if (!steps) steps = horizon_;
        std::vector<float> state = zero_state(), next(state.size()), result, read = history;
        const auto features = detail::to_signed(features_), horizon = detail::to_signed(horizon_);
        const std::size_t at_once = std::max<std::size_t>(1, (1u << 20) / (horizon_ * features_)) * features_;
        while (result.size() < steps * features_) {
            std::vector<float> forecasts;
            for (std::size_t begin = 0; begin < read.size(); begin += at_once) {
                const auto first = read.begin() + detail::to_signed(begin);
                std::vector<float> part(first, first + detail::to_signed(std::min(at_once, read.size() - begin)));
                const auto time = detail::to_signed(part.size() / features_);
                forecasts.resize(part.size() * horizon_);
                const Value vectors = tensor(part, {1, time, features});
                const Value before = tensor(state, state_shape()), after = tensor(next, state_shape());
                const Value out = tensor(forecasts, {1, time, horizon, features});
                session(SEQUENCE).run<2, 2>({vectors.get(), before.get()}, {out.get(), after.get()});
                state.swap(next);
            }
            read.assign(forecasts.end() - detail::to_signed(horizon_ * features_), forecasts.end());
            result.insert(result.end(), read.begin(), read.end());
        }
        result.resize(steps * features_);
        return result;
    }

private:
    enum Use : std::size_t { STEP, SEQUENCE, CLASSIFY, REGRESS, ENCODE, DECODE };
    static constexpr std::array<const char*, 6> NAMES = {"step", "sequence", "classify", "regress", "encode", "decode"};

    // These constants and what depends on them are those of the Python runtime: results may differ in the last digit
    // between graphs and batches, and the same text must come out.
    static constexpr std::size_t PREFILL_FROM = 64;          // tokens of a prompt that the sequence graph reads
    static constexpr std::size_t PREFILL_LOGITS = 1u << 22;  // in memory while a prompt is read
    static constexpr std::size_t BATCH_TOKENS = 1u << 11;    // read at once by a classifier, with padding
    static constexpr std::size_t BATCH_SOURCES = 1u << 10;   // tokens of sources that are read at once, with padding
    static constexpr std::size_t SHORTEST = 16;              // the smallest length that a text is padded to
    static constexpr std::size_t BATCH_VALUES = 1u << 22;    // in the states or the input of a batch of vectors

    void load_language_model() {
        using namespace detail;
        if (!tokenizer_) fail(bundle_.place(), ": a language model must have a tokenizer; export the bundle again");
        state_layers_ = bundle_.dimension("step", "inputs", 1, 0);
        state_width_ = bundle_.dimension("step", "inputs", 1, 2);
        if (bundle_.dimension("step", "outputs", 0, 1) != tokenizer_->size() ||
            bundle_.dimension("sequence", "outputs", 0, 2) != tokenizer_->size() ||
            bundle_.dimension("sequence", "inputs", 1, 0) != state_layers_ ||
            bundle_.dimension("sequence", "inputs", 1, 2) != state_width_) {
            fail(bundle_.place(), ": the graphs and the tokenizer must belong together, they do not; export it again");
        }
        const auto start = bundle_.manifest().at<std::int64_t>("start_id", bundle_.place());
        start_id_ = checked_id(start, "start_id");
        for (const Json& id : bundle_.runtime().at<Json::Array>("never_drawn", bundle_.place())) {
            const auto* number = id.get<std::int64_t>();
            never_drawn_.push_back(static_cast<std::size_t>(checked_id(number ? *number : -1, "runtime.never_drawn")));
        }
        session(STEP);
    }

    void load_translator() {
        using namespace detail;
        if (!tokenizer_) fail(bundle_.place(), ": text to text must have a tokenizer; export the bundle again");
        target_tokenizer_ = bundle_.target_tokenizer();
        state_layers_ = bundle_.dimension("encode", "outputs", 3, 0);
        state_width_ = bundle_.dimension("encode", "outputs", 3, 2);
        if (bundle_.dimension("decode", "outputs", 0, 1) != target().size() ||
            bundle_.dimension("decode", "inputs", 1, 0) != state_layers_ ||
            bundle_.dimension("decode", "inputs", 1, 2) != state_width_ ||
            bundle_.dimension("decode", "inputs", 2, 2) != state_width_) {
            fail(bundle_.place(), ": the graphs and the tokenizer must belong together, they do not; export it again");
        }
        longest_source_ = static_cast<std::size_t>(bundle_.runtime_number("longest_source", 1));
        longest_target_ = static_cast<std::size_t>(bundle_.runtime_number("longest_target", 1));
        const Json* penalty = bundle_.runtime().find("length_penalty");
        const auto* whole = penalty ? penalty->get<std::int64_t>() : nullptr;
        const auto* number = penalty ? penalty->get<double>() : nullptr;
        if (!whole && !number) fail(bundle_.place(), ": runtime.length_penalty must be a number; export it again");
        length_penalty_ = whole ? static_cast<double>(*whole) : *number;
        unknown_ = stripped(target().decode({UNKNOWN_ID}, ""));
        session(ENCODE);
        session(DECODE);
    }

    const detail::Tokenizer& target() const { return target_tokenizer_ ? *target_tokenizer_ : *tokenizer_; }

    std::int32_t checked_id(std::int64_t id, const char* name) const {
        if (id < 0 || static_cast<std::size_t>(id) >= tokenizer_->size()) {
            detail::fail(bundle_.place(), ": ", name, " must be below the ", tokenizer_->size(), " tokens, was: ", id,
                         "; export the bundle again");
        }
        return static_cast<std::int32_t>(id);
    }

    void load_thresholds() {
        for (const detail::Json& item : bundle_.runtime().at<detail::Json::Array>("thresholds", bundle_.place())) {
            if (const auto* threshold = item.get<double>()) thresholds_.push_back(*threshold);
        }
        if (thresholds_.size() != labels_.size()) {
            detail::fail(bundle_.place(), ": there must be a threshold for each of the ", labels_.size(),
                         " labels, there are ", thresholds_.size(), "; export the bundle again");
        }
    }

    const detail::Tokenizer& tokenizer() const {
        if (!tokenizer_) wrong_kind("text", "model that reads text");
        return *tokenizer_;
    }

    [[noreturn]] void wrong_kind(const char* what, const char* needed) const {
        detail::fail(what, " needs a ", needed, ", the bundle is a ", kind(), "; load another");
    }

    void require(const char* needed, const char* what) const {
        if (kind() != needed) wrong_kind(what, needed);
    }

    // Return the session of a graph, loaded at its first use.
    const detail::Session& session(Use use) const {
        std::call_once(loading_[use], [&] { sessions_[use] = bundle_.session(NAMES[use], threads_); });
        return *sessions_[use];
    }

    static std::uint64_t new_seed() {
        std::random_device random;
        return static_cast<std::uint64_t>(random()) << 32 | random();
    }

    std::vector<float> zero_state() const { return std::vector<float>(state_layers_ * state_width_); }

    std::vector<std::int64_t> state_shape() const {
        return {detail::to_signed(state_layers_), 1, detail::to_signed(state_width_)};
    }

    std::size_t prefill_chunk() const { return std::max<std::size_t>(1, PREFILL_LOGITS / tokenizer_->size()); }

    // Call use(logits, steps) for each chunk of ids; `state` is carried on.
    template <class Take>
    void read_sequence(const Ids& ids, std::vector<float>& state, std::size_t chunk, Take use) const {
        using namespace detail;
        std::vector<float> next(state.size()), logits;
        for (std::size_t begin = 0; begin < ids.size(); begin += chunk) {
            const std::size_t steps = std::min(chunk, ids.size() - begin);
            const auto first = ids.begin() + detail::to_signed(begin);
            Ids part(first, first + detail::to_signed(steps));
            logits.resize(steps * tokenizer_->size());
            const auto time = detail::to_signed(steps);
            const Value in = tensor(part, {1, time}), before = tensor(state, state_shape());
            const Value out = tensor(logits, {1, time, detail::to_signed(tokenizer_->size())});
            const Value after = tensor(next, state_shape());
            session(SEQUENCE).run<2, 2>({in.get(), before.get()}, {out.get(), after.get()});
            state.swap(next);
            use(logits.data(), steps);
        }
    }

    // Return the state after ids, by the graph that gives the state of the Python runtime for this length.
    std::vector<float> read_prompt(const Ids& ids) const {
        std::vector<float> state = zero_state();
        if (ids.size() >= PREFILL_FROM) {
            read_sequence(ids, state, prefill_chunk(), [](const float*, std::size_t) {});
        } else {
            Stepper stepper(*this, state);
            for (const std::int32_t id : ids) stepper.read(id);
            state = stepper.state();
        }
        return state;
    }

    // Reads one token after another with the step graph; its tensors are made once.
    class Stepper {
    public:
        Stepper(const Model& model, const std::vector<float>& state)
            : session_(model.session(STEP)), logits_(model.tokenizer_->size()), states_{state, state} {
            values_.push_back(detail::tensor(ids_, {1}));
            values_.push_back(detail::tensor(logits_, {1, detail::to_signed(logits_.size())}));
            for (auto& each : states_) values_.push_back(detail::tensor(each, model.state_shape()));
        }
        Stepper(const Stepper&) = delete;  // the tensors point into it
        Stepper& operator=(const Stepper&) = delete;

        // Read a token; return the logits of the next one, which the next call overwrites.
        const std::vector<float>& read(std::int32_t id) {
            ids_[0] = id;
            session_.run<2, 2>({values_[0].get(), values_[2 + current_].get()},
                               {values_[1].get(), values_[3 - current_].get()});
            current_ = 1 - current_;
            return logits_;
        }

        const std::vector<float>& state() const { return states_[current_]; }

    private:
        const detail::Session& session_;
        Ids ids_ = {0};
        std::vector<float> logits_;
        std::array<std::vector<float>, 2> states_;
        std::size_t current_ = 0;
        std::vector<detail::Value> values_;
    };

    // Return the most probable continuation by beam search, as `_search` in textrnn/generation.py: its tokens.
    Ids search(std::int32_t last, const std::vector<float>& state, const GenerateOptions& options,
               std::string_view prompt) const {
        using namespace detail;
        struct Beam {
            Ids ids;
            double score;
        };
        struct Choice {
            double score;
            std::size_t row;
            std::int32_t token;
        };
        const auto is_stopped = [&](const Ids& ids) {
            const std::string text = options.stop.empty() ? "" : tokenizer_->decode(ids, prompt);
            return std::any_of(options.stop.begin(), options.stop.end(),
                               [&](const std::string& stop) { return text.find(stop) != std::string::npos; });
        };
        const auto width = static_cast<std::size_t>(options.beams);
        const std::size_t size = tokenizer_->size();
        std::vector<Beam> beams = {{{}, 0}};
        Beam best = {{}, -INFINITE};
        std::vector<float> states = state, logits;
        Ids ids = {last};
        for (int position = 1; position <= options.length; ++position) {
            step(ids, states, logits);
            std::vector<Choice> candidates;
            for (std::size_t row = 0; row < beams.size(); ++row) {
                const auto first = logits.begin() + detail::to_signed(row * size);
                std::vector<double> allowed(first, first + detail::to_signed(size));
                for (const std::size_t id : never_drawn_) allowed[id] = -INFINITE;
                const std::vector<double> nats = log_softmax(allowed);
                for (std::size_t id = 0; id < size; ++id) {
                    const double score = beams[row].score + nats[id];
                    if (score > -INFINITE) candidates.push_back({score, row, static_cast<std::int32_t>(id)});
                }
            }
            std::stable_sort(candidates.begin(), candidates.end(), [](auto& a, auto& b) { return a.score > b.score; });
            candidates.resize(std::min(candidates.size(), 2 * width));
            std::vector<Beam> kept;
            std::vector<std::size_t> rows;
            for (const Choice& candidate : candidates) {
                Beam beam = {beams[candidate.row].ids, candidate.score};
                const bool ends = candidate.token == END_ID;
                if (!ends) beam.ids.push_back(candidate.token);
                if (ends || position == options.length || is_stopped(beam.ids)) {
                    if (beam.score > best.score) best = std::move(beam);
                } else if (kept.size() < width) {
                    kept.push_back(std::move(beam));
                    rows.push_back(candidate.row);
                }
            }
            if (kept.empty() || best.score >= kept[0].score) break;  // the score of a beam never increases
            states = rows_of(states, beams.size(), rows);
            beams = std::move(kept);
            ids.clear();
            for (const Beam& beam : beams) ids.push_back(beam.ids.back());
        }
        return best.ids;
    }

    // An output that the search found: its tokens without the end, and the attention of each.
    struct Hypothesis {
        double log_prob, score;
        bool is_whole;
        Ids ids;
        std::vector<std::vector<float>> attention;
    };

    // Search the most probable targets of a batch of sources, as textrnn/decoding/beam_search.py: the best first.
    std::vector<std::vector<Hypothesis>> search_targets(const std::vector<const detail::Source*>& sources,
                                                        std::size_t time, const TransformOptions& options) const {
        using namespace detail;
        constexpr std::size_t NONE = std::numeric_limits<std::size_t>::max();
        struct Node {  // a token of partial hypotheses
            std::size_t parent;
            std::int32_t token;
            std::vector<float> attention;
        };
        struct Live {  // an unfinished hypothesis: its row in the next step and its last token
            std::size_t row;
            double log_prob;
            std::size_t node;
        };
        struct Sum {
            double total;
            std::size_t place;
        };
        const auto beams = static_cast<std::size_t>(options.beams);
        const std::size_t count = sources.size(), size = target().size(), wide = time * state_width_;
        Ids ids(count * time, PAD_ID);
        std::vector<float> keys(count * wide), values(count * wide), mask(count * time);
        std::vector<float> states(state_layers_ * count * state_width_);
        for (std::size_t i = 0; i < count; ++i) {
            std::copy(sources[i]->ids.begin(), sources[i]->ids.end(), ids.begin() + to_signed(i * time));
        }
        {
            const auto batch = to_signed(count), length = to_signed(time), width = to_signed(state_width_);
            const Value in = tensor(ids, {batch, length}), out = tensor(mask, {batch, length});
            const Value k = tensor(keys, {batch, length, width}), v = tensor(values, {batch, length, width});
            const Value first = tensor(states, {to_signed(state_layers_), batch, width});
            session(ENCODE).run<1, 4>({in.get()}, {k.get(), v.get(), out.get(), first.get()});
        }
        std::vector<Node> nodes;
        const double penalty = options.length_penalty.value_or(length_penalty_);
        const auto hypothesis = [&](std::size_t node, double log_prob, std::size_t length, bool is_whole) {
            Hypothesis made{log_prob, log_prob / std::pow(static_cast<double>(length), penalty), is_whole, {}, {}};
            for (; node != NONE; node = nodes[node].parent) {
                made.ids.push_back(nodes[node].token);
                made.attention.push_back(nodes[node].attention);
            }
            std::reverse(made.ids.begin(), made.ids.end());
            std::reverse(made.attention.begin(), made.attention.end());
            return made;
        };
        std::vector<std::vector<Hypothesis>> found(count);
        std::vector<std::vector<Live>> live(count);
        std::vector<std::size_t> read(count);  // the source of each row
        for (std::size_t i = 0; i < count; ++i) live[i] = {{i, 0, NONE}}, read[i] = i;
        std::vector<float> of_rows[3] = {keys, values, mask};
        const std::vector<float>* const of_sources[3] = {&keys, &values, &mask};
        ids.assign(count, BEGINNING_ID);
        for (std::size_t length = 1; !ids.empty(); ++length) {
            std::vector<float> logits(ids.size() * size), attention(ids.size() * time), next(states.size());
            {
                const auto batch = to_signed(ids.size()), steps = to_signed(time), width = to_signed(state_width_);
                const auto shape = {to_signed(state_layers_), batch, width};
                const Value in = tensor(ids, {batch}), before = tensor(states, shape), after = tensor(next, shape);
                const Value k = tensor(of_rows[0], {batch, steps, width});
                const Value v = tensor(of_rows[1], {batch, steps, width});
                const Value m = tensor(of_rows[2], {batch, steps}), out = tensor(logits, {batch, to_signed(size)});
                const Value weights = tensor(attention, {batch, steps});
                session(DECODE).run<5, 3>({in.get(), before.get(), k.get(), v.get(), m.get()},
                                          {out.get(), weights.get(), after.get()});
            }
            const std::size_t batch = ids.size();
            std::vector<std::size_t> rows, read_next;
            ids.clear();
            for (std::size_t i = 0; i < count; ++i) {
                if (live[i].empty()) continue;
                std::vector<Sum> sums;
                for (const Live& each : live[i]) {
                    const auto first = logits.begin() + to_signed(each.row * size);
                    std::vector<double> nats = log_softmax(std::vector<float>(first, first + to_signed(size)));
                    nats[PAD_ID] = nats[BEGINNING_ID] = -INFINITE;  // no target has them
                    for (const double each_nats : nats) sums.push_back({each.log_prob + each_nats, sums.size()});
                }
                // Each hypothesis can end in one way only, so that this many hold enough that do not end.
                const std::size_t most = std::min(2 * beams, sums.size());
                const auto is_better = [](const Sum& a, const Sum& b) {
                    return a.total > b.total || (a.total == b.total && a.place < b.place);
                };
                std::partial_sort(sums.begin(), sums.begin() + to_signed(most), sums.end(), is_better);
                std::vector<Live> extended;
                for (std::size_t rank = 0; rank < most; ++rank) {
                    const auto [total, place] = sums[rank];
                    if (!(total > -INFINITE) || extended.size() == beams) break;
                    const Live& parent = live[i][place / size];
                    const auto token = static_cast<std::int32_t>(place % size);
                    if (token != END_ID) {
                        const auto first = attention.begin() + to_signed(parent.row * time);
                        const auto steps = to_signed(sources[i]->ids.size());
                        nodes.push_back({parent.node, token, std::vector<float>(first, first + steps)});
                        extended.push_back({parent.row, total, nodes.size() - 1});
                    } else if (rank < beams) {
                        found[i].push_back(hypothesis(parent.node, total, length, true));
                    }
                }
                live[i].clear();
                if (found[i].size() < beams && !extended.empty() && length < bound(sources[i]->ids.size())) {
                    for (const Live& each : extended) {
                        live[i].push_back({rows.size(), each.log_prob, each.node});
                        rows.push_back(each.row);
                        read_next.push_back(i);
                        ids.push_back(nodes[each.node].token);
                    }
                } else if (found[i].empty()) {  // at the bound, and none has ended
                    for (const Live& each : extended) {
                        found[i].push_back(hypothesis(each.node, each.log_prob, length, false));
                    }
                }
            }
            states = rows_of(next, batch, rows);
            if (read_next == read) continue;
            read = read_next;
            for (std::size_t part = 0; part < 3; ++part) {
                const std::size_t each = part < 2 ? wide : time;
                of_rows[part].clear();
                for (const std::size_t source : read) {
                    const auto first = of_sources[part]->begin() + to_signed(source * each);
                    of_rows[part].insert(of_rows[part].end(), first, first + to_signed(each));
                }
            }
        }
        for (auto& each : found) {
            std::stable_sort(each.begin(), each.end(), [](auto& a, auto& b) { return a.score > b.score; });
            if (each.size() > beams) each.erase(each.begin() + to_signed(beams), each.end());
        }
        return found;
    }

    // The maximum number of tokens of an output, with the end; it grows for a source longer than any in training.
    std::size_t bound(std::size_t length) const {
        const double times = std::max(1.0, static_cast<double>(length) / static_cast<double>(longest_source_));
        return static_cast<std::size_t>(std::ceil(static_cast<double>(longest_target_) * times)) + 1;
    }

    // Return the text of a hypothesis; an unknown token becomes the source token that was read for it.
    std::string written(const Hypothesis& hypothesis, const detail::Source& source) const {
        const auto decoder = target().stream_decoder("");
        std::string text;
        for (std::size_t i = 0; i < hypothesis.ids.size(); ++i) {
            std::string part = decoder->push(hypothesis.ids[i]);
            const std::size_t at = hypothesis.ids[i] == UNKNOWN_ID ? part.find(unknown_) : std::string::npos;
            if (at != std::string::npos) part.replace(at, unknown_.size(), copied(hypothesis, i, source));
            text += part;
        }
        return text + decoder->finish();
    }

    Alignment aligned(const Hypothesis& hypothesis, const detail::Source& source) const {
        Alignment alignment{source.pieces, {}, hypothesis.attention};
        for (std::size_t i = 0; i < hypothesis.ids.size(); ++i) {
            const std::int32_t id = hypothesis.ids[i];
            alignment.output.push_back(id == UNKNOWN_ID ? copied(hypothesis, i, source) : target().token_text(id));
        }
        return alignment;
    }

    // Return the source token with the highest attention, among unknown ones if there are any.
    static const std::string& copied(const Hypothesis& hypothesis, std::size_t at, const detail::Source& source) {
        const bool has_unknown = std::count(source.ids.begin(), source.ids.end(), UNKNOWN_ID) > 0;
        std::size_t best = source.ids.size();
        for (std::size_t i = 0; i < source.ids.size(); ++i) {
            if (has_unknown && source.ids[i] != UNKNOWN_ID) continue;
            if (best == source.ids.size() || hypothesis.attention[at][i] > hypothesis.attention[at][best]) best = i;
        }
        return source.pieces[best];
    }

    // Read one token of each row of a batch.
    void step(Ids& ids, std::vector<float>& states, std::vector<float>& logits) const {
        using namespace detail;
        const auto batch = detail::to_signed(ids.size());
        std::vector<std::int64_t> shape = state_shape();
        shape[1] = batch;
        std::vector<float> next(states.size());
        logits.resize(ids.size() * tokenizer_->size());
        const Value in = tensor(ids, {batch}), before = tensor(states, shape), after = tensor(next, shape);
        const Value out = tensor(logits, {batch, detail::to_signed(tokenizer_->size())});
        session(STEP).run<2, 2>({in.get(), before.get()}, {out.get(), after.get()});
        states.swap(next);
    }

    // Return the states (layers, batch, hidden) of some rows of the batch.
    std::vector<float> rows_of(const std::vector<float>& states, std::size_t batch,
                               const std::vector<std::size_t>& rows) const {
        std::vector<float> chosen;
        for (std::size_t layer = 0; layer < state_layers_; ++layer) {
            for (const std::size_t row : rows) {
                const auto first = states.begin() + detail::to_signed((layer * batch + row) * state_width_);
                chosen.insert(chosen.end(), first, first + detail::to_signed(state_width_));
            }
        }
        return chosen;
    }

    // The length that a text is padded to, as `padded_length` in textrnn/classification.py has it.
    std::size_t padded_length(std::size_t length) const {
        length = std::max<std::size_t>(1, length);
        const std::size_t unit = segment_length_ && segment_length_ < length ? segment_length_ : SHORTEST;
        const std::size_t needed = (length + unit - 1) / unit;
        std::size_t step = 1;
        while (needed / step >= 8) step *= 2;
        const std::size_t padded = (needed + step - 1) / step * step * unit;
        return length <= segment_length_ ? std::min(padded, segment_length_) : padded;
    }

    // Return the prediction of logits of each class.
    Prediction predicted(const float* logits) const {
        Prediction prediction;
        std::vector<double> values(logits, logits + outputs_);
        const bool several = kind() == "multilabel_classifier";
        if (!several) values = detail::log_softmax(values);
        for (double& value : values) value = several ? 1 / (1 + std::exp(-value)) : std::exp(value);
        for (const std::size_t i : detail::descending(values)) {
            if (several ? values[i] < thresholds_[i] : !prediction.labels.empty()) continue;
            if (prediction.labels.empty()) prediction.label = labels_[i], prediction.probability = values[i];
            prediction.labels.push_back(labels_[i]);
        }
        prediction.probabilities = std::move(values);
        return prediction;
    }

    void check_vectors(const std::vector<float>& numbers, const std::string& place) const {
        if (numbers.empty() || numbers.size() % features_) {
            detail::fail("a record must have whole steps of ", features_, " numbers, at least one, ", place, " has ",
                         numbers.size(), " numbers; give those trained on");
        }
        for (const float number : numbers) {
            if (!std::isfinite(number)) {
                detail::fail("values must be finite numbers, ", place, " has: ", number, "; mend it, or leave it out");
            }
        }
    }

    std::vector<std::vector<float>> read_vectors(Use use, const std::vector<std::vector<float>>& records) const {
        using namespace detail;
        std::vector<std::size_t> lengths;
        for (const auto& record : records) {
            check_vectors(record, joined("record ", lengths.size() + 1));
            lengths.push_back(record.size() / features_);
        }
        std::vector<std::vector<float>> results(records.size());
        const auto padded = [this](std::size_t length) { return std::max(length, shortest_); };
        for_each_batch(lengths, room_, padded, [&](const std::vector<std::size_t>& rows, std::size_t time) {
            std::vector<float> vectors(rows.size() * time * features_), values(rows.size() * outputs_);
            Ids steps(rows.size());
            for (std::size_t i = 0; i < rows.size(); ++i) {
                const auto& record = records[rows[i]];
                std::copy(record.begin(), record.end(), vectors.begin() + detail::to_signed(i * time * features_));
                steps[i] = static_cast<std::int32_t>(lengths[rows[i]]);
            }
            const auto batch = detail::to_signed(rows.size());
            const Value in = tensor(vectors, {batch, detail::to_signed(time), detail::to_signed(features_)});
            const Value count = tensor(steps, {batch}), out = tensor(values, {batch, detail::to_signed(outputs_)});
            session(use).run<2, 1>({in.get(), count.get()}, {out.get()});
            for (std::size_t i = 0; i < rows.size(); ++i) {
                const auto first = values.begin() + detail::to_signed(i * outputs_);
                results[rows[i]].assign(first, first + detail::to_signed(outputs_));
            }
        });
        return results;
    }

    detail::Bundle bundle_;
    int threads_;
    std::unique_ptr<detail::Tokenizer> tokenizer_, target_tokenizer_;
    std::string unknown_;  // the text of an unknown token of a target
    double length_penalty_ = 1;
    std::size_t longest_source_ = 0, longest_target_ = 0;
    std::vector<std::string> labels_;
    std::vector<double> thresholds_;
    std::vector<std::size_t> never_drawn_;
    std::int32_t start_id_ = 0;
    std::size_t state_layers_ = 0, state_width_ = 0, horizon_ = 0, features_ = 0, outputs_ = 0;
    std::size_t max_length_ = 0, segment_length_ = 0, shortest_ = 0, room_ = 0;
    mutable std::array<std::once_flag, NAMES.size()> loading_;
    mutable std::array<std::unique_ptr<detail::Session>, NAMES.size()> sessions_;
};

}  // namespace textrnn

#endif  // TEXTRNN_HPP
