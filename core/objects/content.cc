// What an object holds beside its references: numbers, texts, buffers. Compared between two images of one process.
#include <algorithm>
#include <cstring>

#include "core/base/object_in_hand.h"
#include "core/objects/numpy_array.h"
#include "core/objects/object_reader_impl.h"

namespace pygc::objects {

namespace {

constexpr std::uint64_t kMostContent = std::uint64_t{1} << 16;  // bytes of one piece that are compared

/// One object in two images, compared piece by piece.
class ContentComparison {
 public:
  ContentComparison(const ObjectReader::Impl& impl, Address object, const TypeFacts& type, const target::MemoryImage& other)
      : o_(impl.offsets), layout_(impl.runtime.layout), object_(object), type_(type), now_(impl.process->memory), then_(other), values_(impl.values), old_values_(other, impl.offsets, 0) {}

  /// True: the same; nullopt: one of them does not have the memory.
  std::optional<bool> Run() {
    switch (type_.size_rule) {
      case SizeRule::kList:  // references, and what the interpreter keeps to find them
      case SizeRule::kDict:
      case SizeRule::kSet:
      case SizeRule::kType:
      case SizeRule::kFrame:
      case SizeRule::kGenerator:
      case SizeRule::kDeque:
      case SizeRule::kOrderedDict:
      case SizeRule::kCode:  // rewrites its own instructions [3.11+]
        break;
      case SizeRule::kStr: Text(); break;
      case SizeRule::kBytes: Sized(o_.bytes_data); break;
      case SizeRule::kInt: Integer(); break;
      case SizeRule::kByteArray: ByteArray(); break;
      case SizeRule::kArray: Array(); break;
      case SizeRule::kNumpyArray: Items(); break;
      case SizeRule::kBytesIO:
        Fixed();
        BytesIO();
        break;
      case SizeRule::kUnknown:
      case SizeRule::kObject:
      case SizeRule::kDecimal:
      case SizeRule::kBuffered:
      case SizeRule::kStruct:
      case SizeRule::kNumpyScalar:
        if (type_.reader != ReaderKind::kModule) Fixed();
        break;
    }
    return differs_ ? std::optional(false) : unread_ ? std::nullopt : std::optional(true);
  }

 private:
  std::optional<std::uint64_t> Word(const target::MemoryImage& image, Address a) {
    const std::byte* const p = image.At(a, 8);
    unread_ = unread_ || p == nullptr;
    return p != nullptr ? std::optional(LoadUnchecked<std::uint64_t>(p)) : std::nullopt;
  }
  void Compare(Address now_at, Address then_at, std::uint64_t bytes) {
    const std::size_t length = static_cast<std::size_t>(std::min(bytes, kMostContent));
    if (length == 0) return;
    const std::byte *const now = now_.At(now_at, length), *const then = then_.At(then_at, length);
    unread_ = unread_ || now == nullptr || then == nullptr;
    differs_ = differs_ || (now != nullptr && then != nullptr && std::memcmp(now, then, length) != 0);
  }

  // The same word of both; `differs_` where they are not the same.
  std::optional<std::uint64_t> SameWord(Address a) {
    const std::optional<std::uint64_t> now = Word(now_, a), then = Word(then_, a);
    differs_ = differs_ || (now && then && *now != *then);
    return now && then && *now == *then ? now : std::nullopt;
  }

  void Text() {
    const std::optional<TextUnits> now = values_.Units(object_, kMostContent / 4), then = old_values_.Units(object_, kMostContent / 4);
    if (!now || !then) {
      unread_ = true;
      return;
    }
    differs_ = now->length != then->length || now->width != then->width || now->count != then->count ||
               (now->count > 0 && std::memcmp(now->data, then->data, static_cast<std::size_t>(now->count * now->width)) != 0);
  }
  void Sized(std::uint32_t data) {
    if (const std::optional<std::uint64_t> length = SameWord(object_ + o_.ob_size)) Compare(object_ + data, object_ + data, *length);
  }
  void Integer() {
    const std::byte* const head = now_.At(object_, o_.ob_digit);
    if (head == nullptr) {
      unread_ = true;
      return;
    }
    const std::uint64_t digits = std::min(values_.IntDigits(head), kMostContent);
    Compare(object_ + o_.object_size, object_ + o_.object_size, o_.ob_digit - o_.object_size + digits * o_.digit_bytes);
  }
  // CPython: PyByteArrayObject, Include/cpython/bytearrayobject.h: the bytes begin at ob_start (2.7: ob_bytes).
  void ByteArray() {
    const std::optional<std::uint64_t> length = SameWord(object_ + o_.ob_size);
    if (!length || *length == 0) return;
    const cpython::Field start = layout_.Has(cpython::Field::PyByteArrayObject_ob_start) ? cpython::Field::PyByteArrayObject_ob_start : cpython::Field::PyByteArrayObject_ob_bytes;
    if (!layout_.Has(start)) return;
    Buffer(object_ + layout_.Offset(start), *length);
  }
  // Of an array of NumPy that holds objects nothing: they are references.
  void Items() {
    const std::optional<NumpyArray> now = ReadNumpyArray(now_, o_.object_size, object_), then = ReadNumpyArray(then_, o_.object_size, object_);
    if (!now || !then) {
      unread_ = true;
      return;
    }
    differs_ = now->shape != then->shape || now->kind != then->kind || now->item_bytes != then->item_bytes;
    if (!differs_ && now->owns_data && !now->holds_objects) Compare(now->data, then->data, now->bytes());
  }
  // CPython: arrayobject, Modules/arraymodule.c [2.7, 3.x]: behind the head of a variable object ob_item, allocated, ob_descr; a description is a letter and the size of an item.
  void Array() {
    constexpr std::uint64_t kDescription = 16, kItemSize = 4, kLargestItem = 64, kMostItems = std::uint64_t{1} << 48;
    const Address fields = object_ + o_.ob_size + 8;
    const std::optional<std::uint64_t> length = SameWord(object_ + o_.ob_size), description = SameWord(fields + kDescription);
    if (!length || !description || *length == 0) return;
    const std::byte* const item = now_.At(*description + kItemSize, 4);
    const std::uint64_t bytes = item == nullptr ? 0 : LoadUnchecked<std::uint32_t>(item);
    if (bytes == 0 || bytes > kLargestItem || *length > kMostItems) {
      unread_ = true;
      return;
    }
    Buffer(fields, *length * bytes);
  }
  // CPython: bytesio, Modules/_io/bytesio.c: buf, pos, string_size; buf is a bytes object, or memory of its own [2.7].
  void BytesIO() {
    constexpr std::uint64_t kLength = 16;
    const Address fields = object_ + o_.object_size;
    const std::optional<std::uint64_t> length = SameWord(fields + kLength);
    if (length && *length > 0) Buffer(fields, *length, o_.dict_old ? 0 : o_.bytes_data);
  }
  // `bytes` bytes at `skip` behind where the pointer at `pointer` leads: it may have moved.
  void Buffer(Address pointer, std::uint64_t bytes, std::uint64_t skip = 0) {
    const std::optional<std::uint64_t> now = Word(now_, pointer), then = Word(then_, pointer);
    if (now && then) Compare(*now + skip, *then + skip, bytes);
  }

  // The words of the object itself. Not content: addresses (a reference is compared as such; a buffer may move), a hash that was not asked for yet (-1, in every
  // release), and what the interpreter numbers functions by.
  void Fixed() {
    std::uint64_t end = static_cast<std::uint64_t>(type_.basicsize);
    if (type_.itemsize > 0 && type_.reader != ReaderKind::kTuple) {
      const std::optional<std::uint64_t> items = SameWord(object_ + o_.ob_size);
      if (!items) return;
      if (*items <= kMostContent) end += *items * static_cast<std::uint64_t>(type_.itemsize);
    }
    end = std::min(end, std::uint64_t{o_.object_size} + kMostContent);
    if (end <= o_.object_size) return;
    const std::uint64_t length = end - o_.object_size;
    const std::byte *const now = now_.At(object_ + o_.object_size, length), *const then = then_.At(object_ + o_.object_size, length);
    if (now == nullptr || then == nullptr) {
      unread_ = true;
      return;
    }
    if (std::memcmp(now, then, length) == 0) return;
    std::uint64_t at = 0;
    for (; at + 8 <= length && !differs_; at += 8) differs_ = !IsSameWord(o_.object_size + at, LoadUnchecked<std::uint64_t>(now + at), LoadUnchecked<std::uint64_t>(then + at));
    differs_ = differs_ || std::memcmp(now + at, then + at, length - at) != 0;
  }
  [[nodiscard]] bool IsSameWord(std::uint64_t offset, std::uint64_t now, std::uint64_t then) const {
    constexpr std::uint64_t kNoHash = ~std::uint64_t{0};
    if (now == then || now == kNoHash || then == kNoHash) return true;
    if (type_.weaklistoffset > 0 && offset == static_cast<std::uint64_t>(type_.weaklistoffset)) return true;
    if (type_.dictoffset > 0 && offset == static_cast<std::uint64_t>(type_.dictoffset)) return true;
    if (type_.name == "function" && layout_.Has(cpython::Field::PyFunctionObject_func_version) && offset == layout_.Offset(cpython::Field::PyFunctionObject_func_version) / 8 * 8) return true;
    const bool was = then_.At(then, 1) != nullptr, is = now_.At(now, 1) != nullptr;
    return (was || then == 0) && (is || now == 0);
  }

  const Offsets& o_;
  const cpython::Layout& layout_;
  Address object_;
  const TypeFacts& type_;
  const target::MemoryImage &now_, &then_;
  const Values& values_;
  Values old_values_;
  bool differs_ = false, unread_ = false;
};

}  // namespace

std::optional<bool> ObjectReader::HasSameContent(Address object, const TypeFacts& type, const target::MemoryImage& other) const {
  object_in_hand = object;
  return ContentComparison(*impl_, object, type, other).Run();
}

}  // namespace pygc::objects
