# What ase_bayesel asks of ACEpotentials v0.6. Lengths in A, energies in eV. Arrays come from and go
# to Python in its own order of indices: positions (n, 3), the vectors of a cell in rows.
module BayeselBridge

using LinearAlgebra: Diagonal, diag
using JuLIP: JuLIP, AtomicNumber, JMat, JVec, energy, forces, read_dict, load_dict, site_energy, virial
using ACE1: ACE1
using ACE1x: ACE1x
using ACEfit: ACEfit

function julip_atoms(positions, numbers, cell, pbc)
    X = [JVec{Float64}(positions[i, 1], positions[i, 2], positions[i, 3]) for i in 1:size(positions, 1)]
    P = zeros(JVec{Float64}, length(X))
    M = ones(length(X))
    Z = [AtomicNumber(Int(z)) for z in numbers]
    C = JMat{Float64}(Matrix{Float64}(cell))
    return JuLIP.Atoms(X, P, M, Z, C, JVec{Bool}(Bool(pbc[1]), Bool(pbc[2]), Bool(pbc[3])))
end

function make_basis(elements, order, totaldegree, cutoff, pairs, lengths)
    symbols = Symbol.(split(elements, ','))
    settings = (
        elements = symbols,
        order = Int(order),
        totaldegree = Int(totaldegree),
        rcut = Float64(cutoff),
    )
    isempty(lengths) && return ACE1x.ace_basis(; settings...)
    r0 = Dict((a, b) => ACE1x.get_r0(a, b) for a in symbols, b in symbols)
    for (pair, r) in zip(split(pairs, ','), lengths)
        a, b = Symbol.(split(pair, '-'))
        r0[(a, b)] = r0[(b, a)] = Float64(r)
    end
    return ACE1x.ace_basis(; settings..., r0 = r0)
end

penalty(basis) = Vector{Float64}(diag(ACE1x.smoothness_prior(basis; p = 4)))

function basis_values(basis, structure...)
    atoms = julip_atoms(structure...)
    values = zeros(length(atoms.X), length(basis))
    for i in 1:length(atoms.X)
        values[i, :] = site_energy(basis, atoms, i)
    end
    return values
end

function basis_forces(basis, structure...)
    F = forces(basis, julip_atoms(structure...))
    return [F[k][i][a] for k in 1:length(F), i in 1:length(F[1]), a in 1:3]
end

function basis_virial(basis, structure...)
    V = virial(basis, julip_atoms(structure...))
    return [V[k][a, b] for k in 1:length(V), a in 1:3, b in 1:3]
end

function load_model(path)
    content = load_dict(String(path))
    key = haskey(content, "IP") ? "IP" : "potential"
    return read_dict(content[key])
end

function evaluate(model, structure...)
    atoms = julip_atoms(structure...)
    F = forces(model, atoms)
    by_atom = [F[i][a] for i in 1:length(F), a in 1:3]
    return energy(model, atoms), by_atom, Matrix{Float64}(virial(model, atoms))
end

function fit(rows, targets, penalty)
    P = Diagonal(Vector{Float64}(penalty))
    A = Matrix{Float64}(rows) / P
    result = ACEfit.solve(ACEfit.BLR(verbose = false), A, Vector{Float64}(targets))
    return P \ result["C"]
end

end
