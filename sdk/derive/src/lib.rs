//! The derives of `stillhouse-sdk`: `Signal`, `Candidate`, `States` and `Memo`.

use proc_macro::TokenStream;
use proc_macro2::TokenStream as Tokens;
use quote::{format_ident, quote};
use syn::{Data, DeriveInput, Error, Fields, GenericParam, Ident, LitInt, LitStr, Result, parse_macro_input};

/// The fields that a mapper reads. A field `pod` reads `data.pod`; `#[field("data.meta.name")]`
/// names another path. Types: `&str`, `i64`, `f64`, `bool`, or an `Option` of one; a signal that
/// lacks a field that is not an `Option` is rejected.
#[proc_macro_derive(Signal, attributes(field))]
pub fn derive_signal(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    reader(&input, "data.").unwrap_or_else(Error::into_compile_error).into()
}

/// The fields of a candidate that a suppressor reads. A field `held_us` reads `held_us`;
/// `#[field("type")]` names another.
#[proc_macro_derive(Candidate, attributes(field))]
pub fn derive_candidate(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    reader(&input, "").unwrap_or_else(Error::into_compile_error).into()
}

/// The canonical states of a mapper: an enum whose variants are each marked `#[healthy]`,
/// `#[problem]` or `#[gone]`. `NotReady` is named `not-ready`.
#[proc_macro_derive(States, attributes(healthy, problem, gone))]
pub fn derive_states(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    states(&input).unwrap_or_else(Error::into_compile_error).into()
}

/// What a suppressor remembers of an entity: a struct of numbers, `bool`s and arrays of them, which
/// crosses as their bytes one after the other. `#[memo(version = 1)]` is its version;
/// `#[memo(version = 2, carry = keep)]` also says what becomes of memos of another version: `reset`
/// (if nothing is said), `keep` or `rekey`.
#[proc_macro_derive(Memo, attributes(memo))]
pub fn derive_memo(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    memo(&input).unwrap_or_else(Error::into_compile_error).into()
}

fn reader(input: &DeriveInput, prefix: &str) -> Result<Tokens> {
    let name = &input.ident;
    let Data::Struct(data) = &input.data else {
        return Err(Error::new_spanned(name, "expected a struct with one named field for each field to read"));
    };
    let Fields::Named(fields) = &data.fields else {
        return Err(Error::new_spanned(name, "expected named fields"));
    };
    let lifetime = match input.generics.params.iter().collect::<Vec<_>>().as_slice() {
        [] => None,
        [GenericParam::Lifetime(lifetime)] => Some(&lifetime.lifetime),
        _ => return Err(Error::new_spanned(&input.generics, "expected at most one lifetime and nothing else")),
    };
    let of = lifetime.cloned().unwrap_or_else(|| syn::parse_quote!('b));
    let target = if lifetime.is_some() { quote!(#name<#of>) } else { quote!(#name) };
    let (mut idents, mut types, mut paths) = (Vec::new(), Vec::new(), Vec::new());
    for field in &fields.named {
        let ident = field.ident.as_ref().expect("named fields have names");
        let mut path = format!("{prefix}{ident}");
        for attribute in field.attrs.iter().filter(|attribute| attribute.path().is_ident("field")) {
            path = attribute.parse_args::<LitStr>()?.value();
        }
        idents.push(ident);
        types.push(&field.ty);
        paths.push(path);
    }
    if idents.is_empty() {
        return Err(Error::new_spanned(name, "expected at least one field"));
    }
    let index = 0..idents.len();
    let positions: Vec<_> = (0..idents.len()).map(syn::Index::from).collect();
    Ok(quote! {
        impl<#of> ::stillhouse_sdk::signal::Signal<#of> for #target {
            const FIELDS: &'static [(&'static str, ::stillhouse_sdk::declaration::FieldKind)] =
                &[#((#paths, <#types as ::stillhouse_sdk::signal::FieldSlot<#of>>::KIND)),*];
            type Readers = (#(<#types as ::stillhouse_sdk::signal::FieldSlot<#of>>::Reader,)*);

            fn readers(batch: &#of ::stillhouse_sdk::columns::Batch) -> Self::Readers {
                (#(<#types as ::stillhouse_sdk::signal::FieldSlot<#of>>::reader(&batch.columns[#index]),)*)
            }

            #[inline]
            fn read(readers: &Self::Readers, row: usize) -> ::core::result::Result<Self, &'static str> {
                ::core::result::Result::Ok(Self {
                    #(#idents: <#types as ::stillhouse_sdk::signal::FieldSlot<#of>>::read(&readers.#positions, row, #paths)?,)*
                })
            }
        }
    })
}

fn states(input: &DeriveInput) -> Result<Tokens> {
    let name = &input.ident;
    let Data::Enum(data) = &input.data else {
        return Err(Error::new_spanned(name, "expected an enum with one variant for each state"));
    };
    let (mut rows, mut arms) = (Vec::new(), Vec::new());
    for (code, variant) in data.variants.iter().enumerate() {
        if !matches!(variant.fields, Fields::Unit) {
            return Err(Error::new_spanned(variant, "a state has no fields; use `.value(..)` for what varies"));
        }
        let conditions: Vec<_> = variant
            .attrs
            .iter()
            .filter_map(|attribute| attribute.path().get_ident())
            .filter_map(|ident| match ident.to_string().as_str() {
                "healthy" => Some("Healthy"),
                "problem" => Some("Problem"),
                "gone" => Some("Gone"),
                _ => None,
            })
            .collect();
        let [condition] = conditions.as_slice() else {
            return Err(Error::new_spanned(variant, "expected exactly one of #[healthy], #[problem] or #[gone]"));
        };
        let (ident, condition) = (&variant.ident, format_ident!("{condition}"));
        let text = kebab(&ident.to_string());
        let code = u8::try_from(code).map_err(|_| Error::new_spanned(variant, "expected at most 255 states"))?;
        rows.push(quote!((#text, ::stillhouse_sdk::declaration::Condition::#condition)));
        arms.push(quote!(#name::#ident => #code));
    }
    Ok(quote! {
        impl ::stillhouse_sdk::answer::States for #name {
            const ALL: &'static [(&'static str, ::stillhouse_sdk::declaration::Condition)] = &[#(#rows),*];

            #[inline]
            fn code(self) -> u8 {
                match self { #(#arms),* }
            }
        }
    })
}

fn memo(input: &DeriveInput) -> Result<Tokens> {
    let name = &input.ident;
    let fields = match &input.data {
        Data::Struct(data) => match &data.fields {
            Fields::Named(fields) if !fields.named.is_empty() => &fields.named,
            _ => return Err(Error::new_spanned(name, "expected at least one field, and all with names")),
        },
        _ => return Err(Error::new_spanned(name, "expected a struct of what is remembered")),
    };
    let (mut version, mut carry) = (None, format_ident!("Reset"));
    for attribute in input.attrs.iter().filter(|attribute| attribute.path().is_ident("memo")) {
        attribute.parse_nested_meta(|meta| {
            if meta.path.is_ident("version") {
                version = Some(meta.value()?.parse::<LitInt>()?.base10_parse::<u32>()?);
            } else if meta.path.is_ident("carry") {
                let wanted: Ident = meta.value()?.parse()?;
                carry = match wanted.to_string().as_str() {
                    "keep" => format_ident!("Keep"),
                    "reset" => format_ident!("Reset"),
                    "rekey" => format_ident!("Rekey"),
                    _ => return Err(Error::new_spanned(wanted, "expected `keep`, `reset` or `rekey`")),
                };
            } else {
                return Err(meta.error("expected `version` or `carry`"));
            }
            Ok(())
        })?;
    }
    let version = version.ok_or_else(|| Error::new_spanned(name, "expected `#[memo(version = 1)]`"))?;
    let idents: Vec<_> = fields.iter().map(|field| &field.ident).collect();
    let types: Vec<_> = fields.iter().map(|field| &field.ty).collect();
    Ok(quote! {
        impl ::stillhouse_sdk::memo::Memo for #name {
            const VERSION: u32 = #version;
            const CARRY: ::stillhouse_sdk::memo::Carry = ::stillhouse_sdk::memo::Carry::#carry;
            const BYTES_MAX: u32 = 0 #(+ <#types as ::stillhouse_sdk::memo::Fixed>::BYTES as u32)*;

            fn read(bytes: &[u8]) -> ::core::option::Option<Self> {
                if bytes.len() != Self::BYTES_MAX as usize {
                    return ::core::option::Option::None;
                }
                let mut rest = bytes;
                ::core::option::Option::Some(Self { #(#idents: ::stillhouse_sdk::memo::take(&mut rest)),* })
            }

            fn write(&self, out: &mut ::std::vec::Vec<u8>) {
                #(::stillhouse_sdk::memo::Fixed::put(&self.#idents, out);)*
            }
        }
    })
}

fn kebab(name: &str) -> String {
    let mut out = String::new();
    for (index, letter) in name.chars().enumerate() {
        if letter.is_uppercase() && index > 0 {
            out.push('-');
        }
        out.extend(letter.to_lowercase());
    }
    out
}
